// SPDX-License-Identifier: BSD-3-Clause

package archive

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
)

// Extract unpacks an archive into a new directory, name, directly below parent.
// An empty directory may exist already; anything else there is an error that
// wraps [fs.ErrExist]. The directory appears whole or not at all: Extract unpacks
// beside it and renames the result. It creates only regular files (0644) and
// directories (0755), all of them inside. A link becomes a copy of its target;
// an archive with anything else is refused. Time stamps are those of the
// extraction.
func Extract(ctx context.Context, r io.Reader, parent *os.Root, name string, limits Limits) (_ Info, err error) {
	if !fs.ValidPath(name) || name == "." || path.Dir(name) != "." {
		return Info{}, fmt.Errorf("%q is not the name of a directory", name)
	}
	if err := vacant(parent, name); err != nil {
		return Info{}, err
	}
	partial := "." + name + "." + rand.Text()
	if err := parent.Mkdir(partial, 0o755); err != nil {
		return Info{}, fmt.Errorf("making a directory: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, parent.RemoveAll(partial))
		}
	}()
	top, err := parent.OpenRoot(partial)
	if err != nil {
		return Info{}, fmt.Errorf("opening the new directory: %w", err)
	}
	e := extractor{top: top, dir: top, dirName: ".", links: map[string]string{}}
	info, err := Walk(ctx, r, limits, e.add)
	if err == nil {
		err = e.copyLinks()
	}
	if err = errors.Join(err, e.close()); err != nil {
		return Info{}, err
	}
	// Remove fails unless the directory is empty.
	if err := parent.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Info{}, fmt.Errorf("replacing %s: %w", name, err)
	}
	if err := parent.Rename(partial, name); err != nil {
		return Info{}, fmt.Errorf("renaming the new directory: %w", err)
	}
	return info, nil
}

// vacant checks that name does not exist or is an empty directory.
func vacant(parent *os.Root, name string) error {
	info, err := parent.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at %s: %w", name, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory: %w", name, fs.ErrExist)
	}
	dir, err := parent.Open(name)
	if err != nil {
		return fmt.Errorf("looking at %s: %w", name, err)
	}
	_, err = dir.ReadDir(1)
	if errors.Is(err, io.EOF) {
		err = nil
	} else if err == nil {
		err = fmt.Errorf("%s is not empty: %w", name, fs.ErrExist)
	}
	return errors.Join(err, dir.Close())
}

// extractor writes the entries. It keeps the last file's directory open, since
// most files are in the same directory as the one before.
type extractor struct {
	top     *os.Root
	dir     *os.Root
	dirName string
	links   map[string]string
}

func (e *extractor) add(entry Entry, text io.Reader) (err error) {
	if entry.Name == "." {
		return nil
	}
	if entry.Link != "" {
		e.links[entry.Name] = entry.Link // the target may come later
		return nil
	}
	if err := e.enter(path.Dir(entry.Name)); err != nil {
		return err
	}
	base := path.Base(entry.Name)
	if entry.Dir {
		if err := e.dir.Mkdir(base, 0o755); err != nil {
			return fmt.Errorf("unpacking %s: %w", entry.Name, err)
		}
		return nil
	}
	f, err := e.dir.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", entry.Name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, text); err != nil {
		return fmt.Errorf("unpacking %s: %w", entry.Name, err)
	}
	return nil
}

// copyLinks replaces each link with a copy of its target.
func (e *extractor) copyLinks() error {
	for _, name := range slices.Sorted(maps.Keys(e.links)) {
		from, err := followLink(e.links, name)
		if err != nil {
			return err
		}
		in, err := e.top.Open(from)
		if err == nil {
			err = errors.Join(e.add(Entry{Name: name}, in), in.Close())
		}
		if err != nil {
			return fmt.Errorf("copying %s to %s: %w", from, name, err)
		}
	}
	return nil
}

func (e *extractor) enter(name string) error {
	if name == e.dirName {
		return nil
	}
	dir, err := e.top.OpenRoot(name)
	if err != nil {
		return fmt.Errorf("opening %s: %w", name, err)
	}
	if e.dir != e.top {
		err = e.dir.Close()
	}
	e.dir, e.dirName = dir, name
	return err
}

func (e *extractor) close() error {
	var err error
	if e.dir != e.top {
		err = e.dir.Close()
	}
	return errors.Join(err, e.top.Close())
}
