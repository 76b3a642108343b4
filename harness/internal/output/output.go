// SPDX-License-Identifier: BSD-3-Clause

// Package output makes files and directories that appear whole or not at all.
package output

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/kheaders/kheaders/harness/internal/hint"
)

// Write creates a file with whatever write writes.
func Write(path string, write func(io.Writer) error) (err error) {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Cleanup()) }()
	if err := write(f); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

// Copy makes a file with the content of another.
func Copy(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return Write(to, func(out io.Writer) error {
		_, err := io.Copy(out, in)
		return err
	})
}

// Directory creates a directory and has fill fill it. It must be new or empty.
// Until it is complete, it has a random name next to its final place.
func Directory(dir string, fill func(dir string) error) (err error) {
	const advice = "name a directory that does not exist yet"
	dir = filepath.Clean(dir)
	if name := filepath.Base(dir); name == "." || name == ".." || name == "/" {
		return hint.Usage(fmt.Errorf("%s cannot be replaced by a new directory", dir), advice)
	}
	if entries, err := os.ReadDir(dir); len(entries) > 0 {
		return hint.Usage(fmt.Errorf("%s is not empty", dir), advice)
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return hint.Usage(fmt.Errorf("replacing %s: %w", dir, err), advice)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return hint.Usage(fmt.Errorf("making the directory above %s: %w", dir, err), "choose another --output DIR")
	}
	partial, err := os.MkdirTemp(filepath.Dir(dir), ".kheaders-*")
	if err != nil {
		return hint.Usage(fmt.Errorf("making %s: %w", dir, err), "choose another --output DIR")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(partial))
		}
	}()
	if err := os.Chmod(partial, 0o755); err != nil {
		return err
	}
	if err := fill(partial); err != nil {
		return fmt.Errorf("writing %s: %w", dir, err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replacing %s: %w", dir, err)
	}
	return os.Rename(partial, dir)
}
