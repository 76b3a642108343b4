// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// testWindow is an index.Window short enough for tests to wait for. The file
// systems that they run on have finer clocks than FAT.
const testWindow = 200 * time.Millisecond

// settle waits until files last changed now count as left alone.
func settle() { time.Sleep(testWindow + 50*time.Millisecond) }

// writeTree writes files, given by name and content.
func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

var smallTree = map[string]string{
	"Makefile":      "all:\n",
	"a/one.h":       "one\n",
	"a/two.h":       "two\n",
	"a/b/c/deep.c":  "deep\n",
	"a-b/sibling.c": "sibling\n",
	".git/HEAD":     "ref\n",
	"sub/.git":      "gitdir\n",
}

func scan(t *testing.T, tree, index string) (string, int) {
	t.Helper()
	id, read, err := scanTree(t.Context(), tree, index, testWindow)
	if err != nil {
		t.Fatal(err)
	}
	return id, read
}

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

func TestHashTreeSees(t *testing.T) {
	for _, c := range treeChanges {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tree, index := t.TempDir(), t.TempDir()
			writeTree(t, tree, smallTree)
			if err := os.Symlink("a/one.h", filepath.Join(tree, "link")); err != nil {
				t.Fatal(err)
			}
			settle()
			before, _ := scan(t, tree, index)
			if err := c.change(tree); err != nil {
				t.Fatal(err)
			}
			after, _ := scan(t, tree, index)
			if (before == after) != c.same {
				t.Errorf("the identity was %s and is %s", before, after)
			}
			if fresh, _ := scan(t, tree, t.TempDir()); fresh != after {
				t.Errorf("the index says %s, the tree is %s", after, fresh)
			}
		})
	}
}

// TestCopyTree checks that a copy has the source, and nothing else.
func TestCopyTree(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	writeTree(t, from, smallTree)
	want, _ := scan(t, from, t.TempDir())
	if err := errors.Join(buildIn(from, "*\n"), os.Remove(filepath.Join(from, "a/.#one.h")), leaveFiles(from, leftovers)); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(t.Context(), from, to, func(string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if got, _ := scan(t, to, t.TempDir()); got != want {
		t.Errorf("the copy is %s, the tree %s", got, want)
	}
	for _, name := range append(slices.Clone(leftovers), ".git", "a/.#one.h", "build") {
		if _, err := os.Lstat(filepath.Join(to, name)); !os.IsNotExist(err) {
			t.Errorf("%s is in the copy: %v", name, err)
		}
	}
}

// TestHashTreeReadsOnce counts the files that are read.
func TestHashTreeReadsOnce(t *testing.T) {
	tree, index := t.TempDir(), t.TempDir()
	writeTree(t, tree, smallTree)
	const files = 5
	id, read := scan(t, tree, index)
	if read != files {
		t.Errorf("the first scan read %d files", read)
	}
	// All were just written, so none can be trusted yet.
	if again, read := scan(t, tree, index); again != id || read != files {
		t.Errorf("a scan right after read %d files", read)
	}
	settle()
	if again, read := scan(t, tree, index); again != id || read != files {
		t.Errorf("the first scan of the settled tree read %d files", read)
	}
	if again, read := scan(t, tree, index); again != id || read != 0 {
		t.Errorf("a scan of an unchanged tree read %d files", read)
	}
	writeTree(t, tree, map[string]string{"a/one.h": "ONE\n"})
	if _, read := scan(t, tree, index); read != 1 {
		t.Errorf("a scan after one change read %d files", read)
	}
}

// TestHashTreeQuickEdits changes a file again within the granularity of the
// file system's clock.
func TestHashTreeQuickEdits(t *testing.T) {
	tree, index := t.TempDir(), t.TempDir()
	seen := map[string]bool{}
	for i := range 50 {
		writeTree(t, tree, map[string]string{"file": string(rune('A' + i))})
		id, _ := scan(t, tree, index)
		if seen[id] {
			t.Fatalf("edit %d was not seen", i)
		}
		seen[id] = true
	}
}

func TestHashTreeWithoutIndex(t *testing.T) {
	tree, dir := t.TempDir(), t.TempDir()
	writeTree(t, tree, smallTree)
	settle()
	want, _ := scan(t, tree, dir)
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("the index directory holds %v, %v", list, err)
	}
	path := filepath.Join(dir, list[0].Name())
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := [][]byte{nil, whole[:len(whole)-9], []byte("other")}
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1
		damaged = append(damaged, flipped)
	}
	for i, text := range damaged {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if id, read := scan(t, tree, dir); id != want || read == 0 {
			t.Errorf("damaged index %d: identity %s, %d files read", i, id, read)
		}
	}
}

func TestHashTreeUnreadable(t *testing.T) {
	if _, err := hashTree(t.Context(), filepath.Join(t.TempDir(), "none"), t.TempDir()); err == nil {
		t.Error("a directory that is not there has an identity")
	}
	tree := t.TempDir()
	writeTree(t, tree, smallTree)
	index := filepath.Join(t.TempDir(), "file")
	writeTree(t, filepath.Dir(index), map[string]string{"file": ""})
	if _, err := hashTree(t.Context(), tree, index); err == nil {
		t.Error("an index that cannot be written is no error")
	}
}

func TestHashFile(t *testing.T) {
	dir, index := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "file")
	digests := map[string]bool{}
	for _, text := range []string{"one", "two", "due"} {
		writeTree(t, dir, map[string]string{"file": text})
		for range 2 {
			got, err := hashFile(t.Context(), path, index)
			if err != nil {
				t.Fatal(err)
			}
			digests[got] = true
		}
	}
	if len(digests) != 3 {
		t.Errorf("three contents have %d digests", len(digests))
	}
	if !digests["7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"] { // printf one | sha256sum
		t.Errorf("no digest is a sha256: %v", digests)
	}
}
