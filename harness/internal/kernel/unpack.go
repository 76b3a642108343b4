// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
)

// compressions are the kinds of tarballs: the name's suffix, and the program
// that tar calls to decompress it. xz and gzip are much faster than what Go
// has.
var compressions = []struct {
	suffix string
	args   []string
}{
	{".tar", []string{}},
	{".tar.xz", []string{"xz"}},
	{".txz", []string{"xz"}},
	{".tar.gz", []string{"gzip"}},
	{".tgz", []string{"gzip"}},
}

// compressionOf returns the program that decompresses a tarball of that name,
// as a list that is empty if it is not compressed. It returns nil for a name
// that is not a tarball's.
func compressionOf(name string) []string {
	for _, c := range compressions {
		if strings.HasSuffix(name, c.suffix) {
			return c.args
		}
	}
	return nil
}

// unpack unpacks a tarball so that dir becomes its kernel tree, whether the
// tree is at the top or in a single directory. It fails when the tarball is cut
// short.
func (f fetcher) unpack(ctx context.Context, tarball, dir string) error {
	args := []string{"tar"}
	programs := compressionOf(tarball)
	for _, p := range programs {
		if _, err := run.Look(p); err != nil {
			return err
		}
		args = append(args, "--use-compress-program="+p)
	}
	if len(programs) == 0 {
		if err := checkTarEnd(tarball); err != nil {
			return fmt.Errorf("unpacking %s: %w", tarball, err)
		}
	}
	into := dir + ".unpack"
	if err := os.Mkdir(into, 0o755); err != nil {
		return fmt.Errorf("making the directory of the source tree: %w", err)
	}
	// The modification times that tar restores do no harm: make is content
	// with any time in the past.
	args = append(args, "--extract", "--file", tarball, "--directory", into, "--no-same-owner", "--no-same-permissions")
	if err := f.run(ctx, args, ""); ctx.Err() != nil {
		return context.Cause(ctx)
	} else if err != nil {
		return hint.New(fmt.Errorf("unpacking %s: %w", tarball, firstLine(err)), "the file may be cut short or damaged: compare its size and digest with the original's")
	}

	top := into
	list, err := os.ReadDir(into)
	if err != nil {
		return err
	}
	if len(list) == 1 && list[0].IsDir() {
		top = filepath.Join(into, list[0].Name())
	}
	if err := os.Rename(top, dir); err != nil {
		return fmt.Errorf("moving the source tree into place: %w", err)
	}
	return os.RemoveAll(into)
}

// checkTarEnd fails when an uncompressed tar does not end in the two blocks of
// zeros that mark its end. GNU tar accepts one that was cut between two
// members.
func checkTarEnd(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	const block, mark = 512, 1024 // bytes
	end := make([]byte, mark)
	if at, err := f.Seek(-mark, io.SeekEnd); err == nil && at%block == 0 {
		if _, err := io.ReadFull(f, end); err != nil {
			return err
		}
		if bytes.Equal(end, make([]byte, mark)) {
			return nil
		}
	}
	return hint.New(errors.New("the archive is cut short: it has no end mark"), "compare its size and digest with the original's")
}

// run reports a command and runs it, in dir unless that is empty.
func (f fetcher) run(ctx context.Context, argv []string, dir string) error {
	f.progress("running: " + (&run.Error{Argv: argv, Dir: dir}).Command())
	return run.Cmd{Argv: argv, Dir: dir, Env: plainMessages}.Run(ctx)
}

// firstLine adds the first line of a failed program's output to its error. For
// tar, apt and dpkg-deb that line says what is wrong.
func firstLine(err error) error {
	if e, ok := errors.AsType[*run.Error](err); ok && len(e.Tail) > 0 {
		return &detailError{detail: strings.TrimSpace(e.Tail[0]), err: err}
	}
	return err
}

// detailError is an error with a detail that the program itself reported.
type detailError struct {
	detail string
	err    error
}

func (e *detailError) Error() string { return fmt.Sprintf("%v: %s", e.err, e.detail) }

func (e *detailError) Unwrap() error { return e.err }

// diskFull adds to err how much room is needed, if err is about a full disk.
func diskFull(err error, dir string) error {
	if !run.DiskFull(err) {
		return err
	}
	return hint.New(fmt.Errorf("no space left on the device that holds %s: %w", dir, err),
		"a source tree takes 1.7 GB and a built test kernel 0.2 GB: free some, or move the cache to another device")
}

// syncFileSystem waits until everything on dir's file system is on the disk.
func syncFileSystem(dir string) (err error) {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("syncing the cache: %w", err)
	}
	return nil
}
