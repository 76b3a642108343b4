// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kheaders/kheaders/harness/hint"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/module/archive"
)

// Info describes an archive file.
type Info struct {
	// Path is the file.
	Path string `json:"path"`
	// Arch is our name of the architecture, or the kernel's name of its
	// directory when we have none.
	Arch string `json:"arch"`
	archive.Info
}

// Inspect reads an archive to its end, checks it and tells what it is. A file
// that is missing, damaged or no archive is a [hint.Usage] error.
func Inspect(ctx context.Context, path string) (_ Info, err error) {
	f, err := open(path)
	if err != nil {
		return Info{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := archive.Read(ctx, f, archive.Limits{})
	if err != nil {
		return Info{}, explainArchive(path, err)
	}
	return Info{Path: path, Arch: archName(info), Info: info}, nil
}

// Extract unpacks an archive into dir, which must be missing or empty, and
// appears whole or not at all.
func Extract(ctx context.Context, path, dir string) (_ Info, err error) {
	f, err := open(path)
	if err != nil {
		return Info{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Info{}, fmt.Errorf("finding %s: %w", dir, err)
	}
	parent, err := os.OpenRoot(filepath.Dir(abs))
	if errors.Is(err, fs.ErrNotExist) {
		return Info{}, hint.Usage(fmt.Errorf("extracting to %s: %w", dir, err), "create the directory above it first")
	}
	if err != nil {
		return Info{}, fmt.Errorf("extracting to %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, parent.Close()) }()
	info, err := archive.Extract(ctx, f, parent, filepath.Base(abs), archive.Limits{})
	switch {
	case errors.Is(err, fs.ErrExist):
		return Info{}, hint.Usage(fmt.Errorf("extracting to %s: %w", dir, err), "name a directory that is new or empty")
	case errors.Is(err, fs.ErrPermission):
		return Info{}, hint.Usage(fmt.Errorf("extracting to %s: %w", dir, err), "name a directory that you may write to")
	case err != nil:
		return Info{}, explainArchive(path, err)
	}
	return Info{Path: path, Arch: archName(info), Info: info}, nil
}

// open opens an archive for reading.
func open(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("opening the archive: %w", err), "name an archive, as kheaders archive makes them")
	}
	return f, nil
}

// explainArchive names the file in an error of package archive.
func explainArchive(path string, err error) error {
	err = fmt.Errorf("%s: %w", path, err)
	_, limit := errors.AsType[*archive.LimitError](err)
	if limit || errors.Is(err, archive.ErrFormat) {
		return hint.Usage(err, "get the archive again, or make a new one with kheaders archive")
	}
	return err
}

// archName returns our name of an archive's architecture. All of ours have 64
// bits.
func archName(info archive.Info) string {
	for _, t := range target.All() {
		if t.SrcArch == info.SrcArch && info.Bits == 64 {
			return t.Name
		}
	}
	return info.SrcArch
}
