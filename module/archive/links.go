// SPDX-License-Identifier: BSD-3-Clause

package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// LinkError reports a symbolic link that cannot be archived.
type LinkError struct {
	// Path is the link, in the trees' file system.
	Path string
	// Target is where it points.
	Target string
	// Err says what is wrong with it.
	Err error
}

// Error names the link, where it points and what is wrong.
func (e *LinkError) Error() string {
	return fmt.Sprintf("symbolic link %s -> %s: %v", e.Path, e.Target, e.Err)
}

// Unwrap returns the cause.
func (e *LinkError) Unwrap() error { return e.Err }

// What can be wrong with a link.
var (
	// ErrOutside means that it leads to what is in no kernel tree.
	ErrOutside = errors.New("leads outside the kernel trees")
	// ErrLoop means that it leads to itself, or to a directory above it.
	ErrLoop = errors.New("leads back to itself")
)

// maxLinks is how many links may follow one another; Linux has the same limit.
const maxLinks = 40

// resolve follows all links in name. It returns a path without links, and the
// file's info.
func resolve(fsys fs.FS, name string) (string, fs.FileInfo, error) {
	at := "."
	info, err := fs.Lstat(fsys, at)
	if err != nil {
		return "", nil, err
	}
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		if !info.IsDir() {
			return "", nil, &fs.PathError{Op: "open", Path: at, Err: errors.New("not a directory")}
		}
		next := path.Join(at, part)
		if info, err = fs.Lstat(fsys, next); err != nil {
			return "", nil, err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", nil, ErrLoop
		}
		target, err := fs.ReadLink(fsys, next)
		if err != nil {
			return "", nil, err
		}
		if path.IsAbs(target) {
			at = "."
		}
		rest = append(strings.Split(target, "/"), rest...)
		// info is the link's; get that of the directory to go on from.
		if info, err = fs.Lstat(fsys, at); err != nil {
			return "", nil, err
		}
	}
	info, err = fs.Lstat(fsys, at)
	return at, info, err
}

// kernelTree returns the innermost kernel tree that holds p. A directory is one
// if it has the directories include and arch, and a Makefile that sets VERSION
// and PATCHLEVEL. Header packages have all of these. /etc and a home do not.
func kernelTree(fsys fs.FS, p string) (string, bool) {
	for p = path.Dir(p); p != "."; p = path.Dir(p) {
		if isDir(fsys, path.Join(p, "include")) && isDir(fsys, path.Join(p, "arch")) && setsVersion(fsys, path.Join(p, "Makefile")) {
			return p, true
		}
	}
	return "", false
}

func isDir(fsys fs.FS, name string) bool {
	_, info, err := resolve(fsys, name)
	return err == nil && info.IsDir()
}

// makefileBytes is how much of a Makefile setsVersion reads. The version is in
// its first lines.
const makefileBytes = 64 << 10

// setsVersion reports whether a Makefile sets a kernel's version. One that
// cannot be read does not.
func setsVersion(fsys fs.FS, name string) bool {
	at, info, err := resolve(fsys, name)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := fsys.Open(at)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, makefileBytes))
	return err == nil && sets(string(text), "VERSION") && sets(string(text), "PATCHLEVEL")
}

// sets reports whether a line of a Makefile sets the variable.
func sets(text, variable string) bool {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, variable); ok && strings.HasPrefix(strings.TrimLeft(rest, " \t"), "=") {
			return true
		}
	}
	return false
}
