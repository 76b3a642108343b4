// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
)

// patchFormat is part of every patched source's key. It changes with the layout
// of the cache entries.
const patchFormat = "patched source 1"

// Patch returns a copy of a source tree with a patch applied. For a tree of
// ours, the copy shares all files that the patch does not change through hard
// links; a user's tree is copied in full. changed names the files that the
// patch changes, as opposed to those that it adds.
func Patch(ctx context.Context, store cache.Store, source Source, patch []byte, changed []string) (Source, error) {
	digest := sha256.Sum256(patch)
	key := source.Key + "+patch:" + hex.EncodeToString(digest[:])
	entry, err := store.Get(ctx, "source", cache.KeyOf(patchFormat, source.Dir, key), func(ctx context.Context, dir string) ([]string, error) {
		if err := patchCopy(ctx, store, source, patch, changed, filepath.Join(dir, sourceTreeName)); err != nil {
			return nil, diskFull(err, dir)
		}
		outputs := []string{sourceTreeName + "/Makefile"}
		for _, name := range changed {
			outputs = append(outputs, filepath.Join(sourceTreeName, name))
		}
		return outputs, syncFileSystem(dir)
	})
	if err != nil {
		return Source{}, err
	}
	return Source{Dir: entry.Path(sourceTreeName), Key: key, Version: source.Version, unpatched: &source, build: compile}, nil
}

func patchCopy(ctx context.Context, store cache.Store, source Source, patch []byte, changed []string, to string) error {
	if _, err := run.Look("patch"); err != nil {
		return err
	}
	if err := copyTree(ctx, source.Dir, to, func(name string) bool {
		return source.mutable || slices.Contains(changed, name)
	}); err != nil {
		return fmt.Errorf("copying the kernel tree: %w", err)
	}
	if source.mutable {
		id, err := hashTree(ctx, source.Dir, indexDir(store))
		if err != nil {
			return err
		}
		if "tree:"+id != source.Key {
			return hint.New(fmt.Errorf("the kernel tree %s was changed while it was being copied", source.Dir), "run it again when nothing changes the tree")
		}
	}
	argv := []string{"patch", "--strip=1", "--batch", "--forward", "--fuzz=0", "--no-backup-if-mismatch"}
	if err := (run.Cmd{Argv: argv, Dir: to, Env: plainMessages, Stdin: bytes.NewReader(patch)}).Run(ctx); err != nil {
		return fmt.Errorf("patching the kernel tree: %w", err)
	}
	return nil
}

// copyTree copies what is source in a tree. It links a file unless apart
// says that the file needs its own content.
func copyTree(ctx context.Context, from, to string, apart func(name string) bool) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		switch {
		case !isSource(entry.Name(), entry.IsDir()) && name != ".":
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir() && name != "." && ignoresItself(path):
			return fs.SkipDir
		case entry.IsDir():
			return os.Mkdir(target, 0o755)
		case entry.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case !entry.Type().IsRegular():
			return nil // not part of a kernel's source
		case apart(name):
			return copyFile(path, target)
		}
		err = os.Link(path, target)
		if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EPERM) {
			return copyFile(path, target)
		}
		return err
	})
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err = io.Copy(out, in); err != nil {
		return err
	}
	// Keep the time, as a link would: what was built from the tree must not
	// look older than the copy.
	return os.Chtimes(to, time.Time{}, info.ModTime())
}
