// SPDX-License-Identifier: BSD-3-Clause

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Link gives the directory to the same files as from, through hard links, so
// nobody may write to either. It only changes what differs. Files for which apart
// is true are the caller's: Link leaves them alone.
func Link(ctx context.Context, from, to string, apart func(name string) bool) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("linking the kernel tree: %w", err)
	}
	err := walkSource(ctx, from, func(name string, entry fs.DirEntry) error {
		if apart(name) {
			return nil
		}
		return link(filepath.Join(from, name), filepath.Join(to, name), entry)
	})
	var gone []string // directories
	if err == nil {
		err = walkSource(ctx, to, func(name string, entry fs.DirEntry) error {
			if apart(name) {
				return nil
			}
			if _, err := os.Lstat(filepath.Join(from, name)); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if entry.IsDir() {
				gone = append(gone, name)
				return nil
			}
			return os.Remove(filepath.Join(to, name))
		})
	}
	for _, name := range slices.Backward(gone) {
		_ = os.Remove(filepath.Join(to, name)) // unless the caller's files are in it
	}
	if err != nil {
		return fmt.Errorf("linking the kernel tree: %w", err)
	}
	return nil
}

// walkSource calls f for what is source in a tree, except for its root.
func walkSource(ctx context.Context, root string, f func(name string, entry fs.DirEntry) error) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !isSource(entry.Name(), entry.IsDir()) || entry.IsDir() && ignoresItself(path) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return f(name, entry)
	})
}

// link gives one path the file, link or directory of another.
func link(from, to string, entry fs.DirEntry) error {
	old, err := os.Lstat(to)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there := err == nil
	if there && old.Mode().Type() != entry.Type() {
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		there = false
	}
	switch {
	case entry.IsDir():
		if there {
			return nil
		}
		return os.Mkdir(to, 0o755)
	case entry.Type()&fs.ModeSymlink != 0:
		text, err := os.Readlink(from)
		if err != nil {
			return err
		}
		if now, err := os.Readlink(to); err == nil && now == text {
			return nil
		}
		if there {
			if err := os.Remove(to); err != nil {
				return err
			}
		}
		return os.Symlink(text, to)
	case !entry.Type().IsRegular():
		return nil // not part of a kernel's source
	}
	info, err := entry.Info()
	if err != nil {
		return err
	}
	if there {
		if os.SameFile(info, old) || info.Size() == old.Size() && info.ModTime().Equal(old.ModTime()) {
			return nil
		}
		if err := os.Remove(to); err != nil {
			return err
		}
	}
	err = os.Link(from, to)
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EPERM) {
		return copyFile(from, to)
	}
	return err
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
