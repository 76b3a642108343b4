// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/module/archive"
)

// Info describes an archive file.
type Info struct {
	// Path is the file.
	Path string `json:"path"`
	// Arch is our name for the architecture, or the kernel's name for its
	// directory if we have none.
	Arch string `json:"arch"`
	archive.Info
}

// Inspect reads an archive to its end, checks it and says what it is. A file
// that is missing, damaged or not an archive is a [hint.Usage] error.
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

// configHeader is the kernel's configuration as C sees it.
const configHeader = "include/generated/autoconf.h"

// CheckConfig compares the configuration in an archive with that of a kernel's
// build. A different configuration gives different structures, whatever the
// release, so a difference is a [hint.Usage] error.
func CheckConfig(ctx context.Context, path, build string) (err error) {
	f, err := open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var packed []byte
	found := errors.New("found")
	_, err = archive.Walk(ctx, f, archive.Limits{}, func(e archive.Entry, content io.Reader) error {
		if e.Name != configHeader {
			return nil
		}
		if packed, err = io.ReadAll(content); err != nil {
			return err
		}
		return found
	})
	if err != nil && !errors.Is(err, found) {
		return explainArchive(path, err)
	}
	text, err := os.ReadFile(filepath.Join(build, configHeader))
	if err != nil {
		return fmt.Errorf("reading the kernel's configuration: %w", err)
	}
	theirs, ours := settings(packed), settings(text)
	var differ []string
	for symbol := range maps.Keys(theirs) {
		if value, ok := ours[symbol]; !ok || value != theirs[symbol] {
			differ = append(differ, symbol)
		}
	}
	for symbol := range maps.Keys(ours) {
		if _, ok := theirs[symbol]; !ok {
			differ = append(differ, symbol)
		}
	}
	if len(differ) == 0 {
		return nil
	}
	slices.Sort(differ)
	say := func(settings map[string]string) string {
		if value, ok := settings[differ[0]]; ok {
			return value
		}
		return "not set"
	}
	return hint.Usage(fmt.Errorf("%s has the headers of another configuration than the kernel in %s: %s is %s, and %s here (differences: %d)",
		path, build, differ[0], say(theirs), say(ours), len(differ)), "pack that kernel's own: kheaders archive --build "+build)
}

// settings reads the definitions in an autoconf.h.
func settings(text []byte) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "#define "); ok {
			symbol, value, _ := strings.Cut(strings.TrimSpace(rest), " ")
			found[symbol] = strings.TrimSpace(value)
		}
	}
	return found
}

// Extract unpacks an archive into dir, which must be missing or empty. dir
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
	if err != nil {
		return Info{}, explainExtract(path, dir, occupied(abs), err)
	}
	return Info{Path: path, Arch: archName(info), Info: info}, nil
}

// explainExtract says why an archive cannot be extracted. If the directory is free,
// a file that exists is one of the archive's own.
func explainExtract(path, dir string, occupied bool, err error) error {
	advice := ""
	switch {
	case errors.Is(err, fs.ErrExist) && !occupied:
		advice = "the file system there takes names that differ in case only for the same: extract it to another"
	case errors.Is(err, fs.ErrExist):
		advice = "name a directory that is new or empty"
	case errors.Is(err, fs.ErrPermission):
		advice = "name a directory that you may write to"
	default:
		return explainArchive(path, err)
	}
	return hint.Usage(fmt.Errorf("extracting to %s: %w", dir, err), advice)
}

// occupied reports whether a path is neither free nor an empty directory.
func occupied(path string) bool {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return false
	}
	entries, err := os.ReadDir(path)
	return err != nil || len(entries) > 0
}

// open opens an archive for reading.
func open(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("opening the archive: %w", err), "name an archive, as kheaders archive makes them")
	}
	return f, nil
}

// explainArchive adds the file's name to an error of package archive.
func explainArchive(path string, err error) error {
	err = fmt.Errorf("%s: %w", path, err)
	_, limit := errors.AsType[*archive.LimitError](err)
	if limit || errors.Is(err, archive.ErrFormat) {
		return hint.Usage(err, "get the archive again, or make a new one with kheaders archive")
	}
	return err
}

// archName returns our name for an archive's architecture. All of ours are
// 64-bit.
func archName(info archive.Info) string {
	for _, t := range target.All() {
		if t.SrcArch == info.SrcArch && info.Bits == 64 {
			return t.Name
		}
	}
	return info.SrcArch
}
