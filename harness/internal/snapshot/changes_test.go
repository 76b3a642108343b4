// SPDX-License-Identifier: BSD-3-Clause

package snapshot

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// treeChanges are changes to a tree, and whether its identity stays the same.
var treeChanges = []struct {
	name   string
	change func(tree string) error
	same   bool
}{
	{name: "nothing", change: func(string) error { return nil }, same: true},
	{name: "same size", change: func(tree string) error {
		return os.WriteFile(filepath.Join(tree, "a/one.h"), []byte("ONE\n"), 0o644)
	}},
	{name: "same size and mtime", change: func(tree string) error {
		path := filepath.Join(tree, "a/one.h")
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte("ONE\n"), 0o644); err != nil {
			return err
		}
		return os.Chtimes(path, info.ModTime(), info.ModTime())
	}},
	{name: "only mtime", same: true, change: func(tree string) error {
		return os.Chtimes(filepath.Join(tree, "a/one.h"), time.Now(), time.Now().Add(time.Hour))
	}},
	{name: "new file", change: func(tree string) error {
		return os.WriteFile(filepath.Join(tree, "a/b/new.h"), nil, 0o644)
	}},
	{name: "file gone", change: func(tree string) error { return os.Remove(filepath.Join(tree, "a/two.h")) }},
	{name: "renamed", change: func(tree string) error {
		return os.Rename(filepath.Join(tree, "a/two.h"), filepath.Join(tree, "a/zwei.h"))
	}},
	{name: "moved to a sibling", change: func(tree string) error {
		return os.Rename(filepath.Join(tree, "a/two.h"), filepath.Join(tree, "a-b/two.h"))
	}},
	{name: "executable", change: func(tree string) error { return os.Chmod(filepath.Join(tree, "a/two.h"), 0o755) }},
	{name: "only group's right to write", same: true, change: func(tree string) error {
		return os.Chmod(filepath.Join(tree, "a/two.h"), 0o664)
	}},
	{name: "other link", change: func(tree string) error {
		link := filepath.Join(tree, "link")
		if err := os.Remove(link); err != nil {
			return err
		}
		return os.Symlink("a/two.h", link)
	}},
	{name: "link becomes file", change: func(tree string) error {
		link := filepath.Join(tree, "link")
		if err := os.Remove(link); err != nil {
			return err
		}
		return os.WriteFile(link, []byte("a/one.h"), 0o755)
	}},
	{name: "git's own files", same: true, change: func(tree string) error {
		return os.WriteFile(filepath.Join(tree, ".git/index"), []byte("x"), 0o644)
	}},
	{name: "what editors and indexers leave", same: true, change: func(tree string) error { return leaveFiles(tree, leftovers) }},
	{name: "an object tree", same: true, change: func(tree string) error {
		return buildIn(tree, "# this is build directory, ignore it\n*\n")
	}},
	{name: "a tree that git ignores as a whole", same: true, change: func(tree string) error {
		return os.WriteFile(filepath.Join(tree, ".gitignore"), []byte("*\n"), 0o644)
	}},
	{name: "a directory that git ignores in part", change: func(tree string) error { return buildIn(tree, "*\n!*.h\n") }},
	{name: "a directory in which git ignores objects", change: func(tree string) error { return buildIn(tree, "*.o\n") }},
	{name: "what looks like it", change: func(tree string) error { return leaveFiles(tree, []string{"a/tags.c"}) }},
	{name: "a directory named tags", change: func(tree string) error { return leaveFiles(tree, []string{"a/tags/x.c"}) }},
	{name: "a local configuration", change: func(tree string) error { return leaveFiles(tree, []string{".config"}) }},
	{name: "a local version", change: func(tree string) error { return leaveFiles(tree, []string{"localversion-x"}) }},
	{name: "a version for a tree without git", change: func(tree string) error { return leaveFiles(tree, []string{".scmversion"}) }},
	{name: "what make would take for built", change: func(tree string) error { return leaveFiles(tree, []string{"a/one.o"}) }},
	{name: "a worktree's .git", same: true, change: func(tree string) error {
		return os.WriteFile(filepath.Join(tree, "sub/.git"), []byte("elsewhere"), 0o644)
	}},
}

// leftovers are what tools leave in a kernel tree, for themselves.
var leftovers = []string{
	"tags", "TAGS", "a/tags", "cscope.out", "cscope.in.out", "cscope.files", "ncscope.out", "GPATH", "GRTAGS", "GTAGS", "GSYMS", "ID",
	"compile_commands.json", "rust-project.json", ".clangd", ".cache/clangd/index/one.idx", ".vscode/settings.json",
	".idea/workspace.xml", ".ccls-cache/x", ".dir-locals.el", ".DS_Store", "a/._one.h", "a/.one.h.swp", "a/one.h.swp", "a/.one.h.un~",
	"a/one.h~", "a/#one.h#", "a/one.h.orig", "a/one.h.rej", "a/one.h.bak", "0001-a.patch", "my.diff", "series", "patches/a.patch", "patches-main/a",
	".pc/a/one.h", "a/__pycache__/x.cpython-313.pyc", "a/x.pyc", ".nfs0000001", ".envrc", "lost+found/x",
}

// buildIn makes a directory with a .gitignore.
func buildIn(tree, gitignore string) error {
	return errors.Join(leaveFiles(tree, []string{"build/include/config/auto.conf", "build/one.o"}),
		os.WriteFile(filepath.Join(tree, "build/.gitignore"), []byte(gitignore), 0o644))
}

// leaveFiles writes the files, and an editor's lock: a link to nowhere.
func leaveFiles(tree string, names []string) error {
	for _, name := range names {
		path := filepath.Join(tree, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("left\n"), 0o644)); err != nil {
			return err
		}
	}
	return os.Symlink("user@host.1234:1700000000", filepath.Join(tree, "a/.#one.h"))
}
