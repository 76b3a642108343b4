// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/cache"
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

// sourceInfo is what an entry of unpacked source records about itself.
type sourceInfo struct {
	// Key identifies the content: the digest of the file it came from.
	Key string `json:"key"`
	// Version is the kernel's version.
	Version string `json:"version"`
	// Origin says where it came from, for people.
	Origin string `json:"origin"`
}

const (
	sourceInfoName = "source.json"
	sourceTreeName = "linux"
)

// unpacked returns the source in the entry of a key. If there is none, obtain
// fetches the tarball into an empty scratch directory, which is removed
// afterwards, and returns its path and identity.
func (f fetcher) unpacked(ctx context.Context, key cache.Key, obtain func(ctx context.Context, scratch string) (tarball string, info sourceInfo, err error)) (Source, error) {
	entry, err := f.store.Get(ctx, "source", key, func(ctx context.Context, dir string) ([]string, error) {
		if err := f.fill(ctx, dir, obtain); err != nil {
			return nil, diskFull(err, dir)
		}
		return []string{sourceInfoName, sourceTreeName + "/Makefile"}, nil
	})
	if err != nil {
		return Source{}, err
	}
	text, err := os.ReadFile(entry.Path(sourceInfoName))
	if err != nil {
		return Source{}, fmt.Errorf("reading what is known about the source: %w", err)
	}
	var info sourceInfo
	if err := json.Unmarshal(text, &info); err != nil {
		return Source{}, fmt.Errorf("reading what is known about the source: %w", err)
	}
	return Source{Dir: entry.Path(sourceTreeName), Key: info.Key, Version: info.Version, build: compile}, nil
}

func (f fetcher) fill(ctx context.Context, dir string, obtain func(ctx context.Context, scratch string) (string, sourceInfo, error)) error {
	scratch := filepath.Join(dir, "scratch")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return fmt.Errorf("making a directory for the download: %w", err)
	}
	tarball, info, err := obtain(ctx, scratch)
	if err != nil {
		return err
	}
	tree := filepath.Join(dir, sourceTreeName)
	if err := f.unpack(ctx, tarball, tree); err != nil {
		return err
	}
	if err := os.RemoveAll(scratch); err != nil {
		return fmt.Errorf("removing the download: %w", err)
	}
	if info.Version, err = treeVersion(tree); err != nil {
		return hint.Usage(fmt.Errorf("%s: %w", info.Origin, err), "a source tarball holds one kernel tree, or one directory with it")
	}
	text, err := json.MarshalIndent(info, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, sourceInfoName), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing what is known about the source: %w", err)
	}
	// Later uses check only some of the files, so all of them must be on
	// the disk before the entry counts.
	return syncFileSystem(dir)
}
