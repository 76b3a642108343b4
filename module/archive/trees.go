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
		root, _, err := resolve(s.trees.FS, tree)
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
	// linked are other kernel trees, into which links of these lead.
	linked []string
	files  map[string]string // name in the archive -> path in the file system
}

// top walks one of the top directories of headers, which may itself be a link.
func (s *selection) top(root, sub string) error {
	at, info, err := resolve(s.trees.FS, path.Join(root, sub))
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
//
// A name that starts with a dot is none of the kernel's, which has git ignore
// them. It may be an editor's lock, a link to nowhere named .#sched.h, or a
// file manager's ._sched.h.
func (s *selection) walk(at, name string, above []string) error {
	entries, err := fs.ReadDir(s.trees.FS, at)
	if err != nil {
		return fmt.Errorf("listing headers: %w", err)
	}
	above = append(above, at)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		p, n := path.Join(at, entry.Name()), path.Join(name, entry.Name())
		header := strings.HasSuffix(n, ".h")
		mode := entry.Type()
		if mode&fs.ModeSymlink != 0 {
			link := p
			var info fs.FileInfo
			p, info, err = resolve(s.trees.FS, link)
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

// inside reports whether a link may lead to p: into the trees, or into another
// kernel tree. Ubuntu's headers for a flavour are mostly links into a tree
// beside it, which the kernel's build is not told about.
func (s *selection) inside(p string) bool {
	holds := func(root string) bool {
		return root == "." || p == root || strings.HasPrefix(p, root+"/")
	}
	if slices.ContainsFunc(s.roots, holds) || slices.ContainsFunc(s.linked, holds) {
		return true
	}
	tree, ok := kernelTree(s.trees.FS, p)
	if ok {
		s.linked = append(s.linked, tree)
	}
	return ok
}
