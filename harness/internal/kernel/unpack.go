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

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/internal/snapshot"
)

// unpack unpacks a tarball so that dir becomes its kernel tree, see [topOf]. It
// fails when the tarball is cut short.
func (f fetcher) unpack(ctx context.Context, tarball, dir string) error {
	args := []string{"tar"}
	packed, ok, err := compressionOf(tarball)
	switch {
	case err != nil:
		return fmt.Errorf("unpacking %s: %w", tarball, err)
	case !ok:
		return hint.New(fmt.Errorf("unpacking %s: it is neither a tar nor a compressed one", tarball), "compare its size and digest with the original's")
	case packed.command == "":
		if err := checkTarEnd(tarball); err != nil {
			return fmt.Errorf("unpacking %s: %w", tarball, err)
		}
	default:
		if _, err := run.Look(packed.program()); err != nil {
			return fmt.Errorf("unpacking %s: %w", tarball, err)
		}
		args = append(args, "--use-compress-program="+packed.command)
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

	top, err := topOf(into)
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", tarball, err)
	}
	if err := os.Rename(top, dir); err != nil {
		return fmt.Errorf("moving the source tree into place: %w", err)
	}
	return os.RemoveAll(into)
}

// topDepth is how many directories a tarball may have around a kernel tree.
const topDepth = 3

// topOf finds the kernel tree in what was unpacked: the directory itself, or the
// only one in it that is a kernel tree, or else the only one in it, and so on.
// If there is no kernel tree, it returns the last directory that it looked at.
func topOf(dir string) (string, error) {
	for range topDepth {
		if _, err := treeVersion(dir); err == nil {
			return dir, nil
		}
		list, err := os.ReadDir(dir)
		if err != nil {
			return "", err
		}
		var all, trees []string
		for _, item := range list {
			if !item.IsDir() {
				continue
			}
			path := filepath.Join(dir, item.Name())
			all = append(all, path)
			if _, err := treeVersion(path); err == nil {
				trees = append(trees, path)
			}
		}
		switch {
		case len(trees) == 1:
			return trees[0], nil
		case len(trees) > 1:
			return "", hint.Usage(fmt.Errorf("there are %d kernel trees in it, such as %s and %s", len(trees), filepath.Base(trees[0]), filepath.Base(trees[1])), "unpack it, and name the directory of one")
		case len(all) != 1:
			return dir, nil
		}
		dir = all[0]
	}
	return dir, nil
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
	return snapshot.SyncFileSystem(dir)
}
