// SPDX-License-Identifier: BSD-3-Clause

package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Trees says where a kernel's headers are. All names are paths in FS. Symbolic
// links work if FS is an [fs.ReadLinkFS]; an absolute link starts at its root.
// Both trees are in one FS, such as os.DirFS("/"), because header packages link
// from one tree to the other.
type Trees struct {
	// FS has both trees.
	FS fs.FS
	// Source is the source tree.
	Source string
	// Build is the object tree. Its headers win. Empty for a kernel that was
	// built in its source tree.
	Build string
	// SrcArch is the name of the directory below arch/.
	SrcArch string
}

const (
	autoconf   = "include/generated/autoconf.h"
	utsversion = "include/generated/utsversion.h"
	utsrelease = "include/generated/utsrelease.h"
)

// NotPreparedError says that a tree has no include/generated/autoconf.h: the
// kernel is not configured, or "make prepare" did not run.
type NotPreparedError struct {
	// Tree is the directory that should have it.
	Tree string
}

// Error names the tree.
func (e *NotPreparedError) Error() string {
	return fmt.Sprintf("%s has no %s", e.Tree, autoconf)
}

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
	// ErrOutside means that it leads out of the trees.
	ErrOutside = errors.New("leads outside the kernel trees")
	// ErrLoop means that it leads to itself, or to a directory above it.
	ErrLoop = errors.New("leads back to itself")
)

// File is a header to archive.
type File struct {
	// Name is its path in the archive, without the leading "./".
	Name string
	// Path is the regular file with its text, in the trees' file system.
	Path string
}

// Select returns the headers of the trees in the archive's order: by name,
// directory by directory.
func (t Trees) Select() ([]File, error) {
	s := selection{trees: t, files: map[string]string{}}
	for _, tree := range []string{t.Source, t.Build} {
		if tree == "" {
			continue
		}
		root, _, err := s.resolve(tree)
		if err != nil {
			return nil, fmt.Errorf("finding the tree %s: %w", tree, err)
		}
		s.roots = append(s.roots, root)
	}
	// Only the object tree's counts, if there is an object tree: a stale file
	// in the source tree must not hide that the object tree has none.
	last := s.roots[len(s.roots)-1]
	if _, err := fs.Stat(t.FS, path.Join(last, autoconf)); errors.Is(err, fs.ErrNotExist) {
		return nil, &NotPreparedError{Tree: last}
	} else if err != nil {
		return nil, fmt.Errorf("looking for %s: %w", autoconf, err)
	}
	for i, root := range s.roots {
		for _, sub := range []string{"include", path.Join("arch", t.SrcArch, "include")} {
			err := s.top(root, sub)
			if i > 0 && errors.Is(err, fs.ErrNotExist) {
				if _, err := fs.Stat(t.FS, path.Join(root, sub)); errors.Is(err, fs.ErrNotExist) {
					continue // an object tree need not have both
				}
			}
			if err != nil {
				return nil, err
			}
		}
	}
	delete(s.files, utsversion)
	files := make([]File, 0, len(s.files))
	for name, p := range s.files {
		files = append(files, File{Name: name, Path: p})
	}
	slices.SortFunc(files, func(a, b File) int { return compareNames(a.Name, b.Name) })
	return files, nil
}

// compareNames orders paths directory by directory: a slash sorts before any
// other byte.
func compareNames(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] == b[i] {
			continue
		}
		switch {
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		}
		return int(a[i]) - int(b[i])
	}
	return len(a) - len(b)
}

type selection struct {
	trees Trees
	roots []string
	files map[string]string // name in the archive -> path in the file system
}

// top walks one of the top directories of headers, which may itself be a link.
func (s *selection) top(root, sub string) error {
	at, info, err := s.resolve(path.Join(root, sub))
	if err != nil {
		return fmt.Errorf("finding %s: %w", path.Join(root, sub), err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", path.Join(root, sub))
	}
	if !s.inside(at) {
		return &LinkError{Path: path.Join(root, sub), Target: at, Err: ErrOutside}
	}
	return s.walk(at, sub, nil)
}

// walk selects the headers below the directory at, which is called name in the
// archive. above lists its parent directories, outermost first.
func (s *selection) walk(at, name string, above []string) error {
	entries, err := fs.ReadDir(s.trees.FS, at)
	if err != nil {
		return fmt.Errorf("listing headers: %w", err)
	}
	above = append(above, at)
	for _, entry := range entries {
		p, n := path.Join(at, entry.Name()), path.Join(name, entry.Name())
		header := strings.HasSuffix(n, ".h")
		mode := entry.Type()
		if mode&fs.ModeSymlink != 0 {
			link := p
			var info fs.FileInfo
			p, info, err = s.resolve(link)
			if err == nil {
				mode = info.Mode().Type()
				switch {
				case !header && !mode.IsDir():
				case !s.inside(p):
					err = ErrOutside
				case mode.IsDir() && slices.Contains(above, p):
					err = ErrLoop
				}
			}
			if err != nil {
				target, _ := fs.ReadLink(s.trees.FS, link)
				return &LinkError{Path: link, Target: target, Err: err}
			}
		}
		switch {
		case mode.IsDir():
			if err := s.walk(p, n, above); err != nil {
				return err
			}
		case !header:
		case mode.IsRegular():
			s.files[n] = p
		default:
			return fmt.Errorf("%s is neither a file nor a directory", p)
		}
	}
	return nil
}

func (s *selection) inside(p string) bool {
	return slices.ContainsFunc(s.roots, func(root string) bool {
		return root == "." || p == root || strings.HasPrefix(p, root+"/")
	})
}

// maxLinks is how many links may follow one another; Linux has the same limit.
const maxLinks = 40

// resolve follows all links in name. It returns a path without links, and the
// file's info.
func (s *selection) resolve(name string) (string, fs.FileInfo, error) {
	at := "."
	info, err := fs.Lstat(s.trees.FS, at)
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
		if info, err = fs.Lstat(s.trees.FS, next); err != nil {
			return "", nil, err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", nil, ErrLoop
		}
		target, err := fs.ReadLink(s.trees.FS, next)
		if err != nil {
			return "", nil, err
		}
		if path.IsAbs(target) {
			at = "."
		}
		rest = append(strings.Split(target, "/"), rest...)
		// info is the link's; get that of the directory to go on from.
		if info, err = fs.Lstat(s.trees.FS, at); err != nil {
			return "", nil, err
		}
	}
	info, err = fs.Lstat(s.trees.FS, at)
	return at, info, err
}
