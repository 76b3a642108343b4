// SPDX-License-Identifier: BSD-3-Clause

package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// bring brings a copy in the directory state up to date.
func bring(t *testing.T, tree, state string) Tree {
	t.Helper()
	got, err := Update(t.Context(), options(tree, state))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func options(tree, state string) Options {
	return Options{From: tree, To: filepath.Join(state, "copy"), Index: filepath.Join(state, "index"), Window: testWindow}
}

// TestUpdate changes a tree in every way, and checks that the copy follows and
// that the ID tells.
func TestUpdate(t *testing.T) {
	for _, c := range treeChanges {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tree, state := t.TempDir(), t.TempDir()
			writeTree(t, tree, smallTree)
			if err := os.Symlink("a/one.h", filepath.Join(tree, "link")); err != nil {
				t.Fatal(err)
			}
			settle()
			before := bring(t, tree, state)
			if err := c.change(tree); err != nil {
				t.Fatal(err)
			}
			after := bring(t, tree, state)
			if (before.ID == after.ID) != c.same || (after.Changed == 0) != c.same {
				t.Errorf("the identity was %s and is %s, %d files of the copy changed", before.ID, after.ID, after.Changed)
			}
			if fresh := bring(t, tree, t.TempDir()); fresh.ID != after.ID {
				t.Errorf("the index says %s, the tree is %s", after.ID, fresh.ID)
			}
			// The copy is a tree of the same content.
			if copied := bring(t, filepath.Join(state, "copy"), t.TempDir()); copied.ID != after.ID {
				t.Errorf("the copy is %s, the tree %s", copied.ID, after.ID)
			}
			for _, name := range append(slices.Clone(leftovers), ".git", "a/.#one.h") {
				if info, err := os.Lstat(filepath.Join(state, "copy", name)); !os.IsNotExist(err) && (err != nil || !info.IsDir()) {
					t.Errorf("%s is in the copy: %v", name, err)
				}
			}
		})
	}
}

// TestUpdateReadsOnce counts the files that are read.
func TestUpdateReadsOnce(t *testing.T) {
	tree, state := t.TempDir(), t.TempDir()
	writeTree(t, tree, smallTree)
	const files = 5
	first := bring(t, tree, state)
	if first.Read != files || first.Changed != files {
		t.Errorf("the first update read %d files and copied %d", first.Read, first.Changed)
	}
	// All were just written, so none can be trusted yet.
	if again := bring(t, tree, state); again.ID != first.ID || again.Read != files || again.Changed != 0 {
		t.Errorf("an update right after read %d files", again.Read)
	}
	settle()
	if again := bring(t, tree, state); again.ID != first.ID || again.Read != files {
		t.Errorf("the first update of the settled tree read %d files", again.Read)
	}
	if again := bring(t, tree, state); again.ID != first.ID || again.Read != 0 {
		t.Errorf("an update of an unchanged tree read %d files", again.Read)
	}
	writeTree(t, tree, map[string]string{"a/one.h": "ONE\n"})
	if again := bring(t, tree, state); again.Read != 1 || again.Changed != 1 {
		t.Errorf("an update after one change read %d files and copied %d", again.Read, again.Changed)
	}
}

// TestUpdateQuickEdits changes a file again within the granularity of the file
// system's clock.
func TestUpdateQuickEdits(t *testing.T) {
	tree, state := t.TempDir(), t.TempDir()
	seen := map[string]bool{}
	for i := range 50 {
		text := string(rune('A' + i))
		writeTree(t, tree, map[string]string{"file": text})
		if id := bring(t, tree, state).ID; seen[id] {
			t.Fatalf("edit %d was not seen", i)
		} else {
			seen[id] = true
		}
		if got, err := os.ReadFile(filepath.Join(state, "copy/file")); string(got) != text {
			t.Fatalf("the copy has %q (%v), want %q", got, err, text)
		}
	}
}

// TestUpdateTimes checks that a file gets a new time when its content changes, and
// only then.
func TestUpdateTimes(t *testing.T) {
	tree, state := t.TempDir(), t.TempDir()
	writeTree(t, tree, smallTree)
	long := time.Now().Add(-24 * time.Hour)
	date := func(dir, name string) time.Time {
		t.Helper()
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime()
	}
	bring(t, tree, state)
	for _, c := range []struct {
		name    string
		change  func() error
		renewed []string
	}{
		{"restored with an old date", func() error {
			writeTree(t, tree, map[string]string{"a/one.h": "eins\n"})
			return os.Chtimes(filepath.Join(tree, "a/one.h"), long, long)
		}, []string{"a/one.h"}},
		{"touched", func() error { return os.Chtimes(filepath.Join(tree, "a/one.h"), time.Now(), time.Now()) }, nil},
		{"dated in the future", func() error {
			later := time.Now().Add(24 * time.Hour)
			return os.Chtimes(filepath.Join(tree, "a/two.h"), later, later)
		}, nil},
		{"replaced by an older one", func() error {
			return errors.Join(os.WriteFile(filepath.Join(tree, "old"), []byte("zwei\n"), 0o644),
				os.Chtimes(filepath.Join(tree, "old"), long, long), os.Rename(filepath.Join(tree, "old"), filepath.Join(tree, "a/two.h")))
		}, []string{"a/two.h"}},
		{"replaced by a link to it", func() error {
			return errors.Join(os.Remove(filepath.Join(tree, "a/two.h")), os.Symlink("one.h", filepath.Join(tree, "a/two.h")))
		}, []string{"a/one.h", "a/two.h"}},
		{"an added file is found first", func() error {
			writeTree(t, tree, map[string]string{"a-b/one.h": "other\n"})
			return nil
		}, []string{"a/one.h", "a/two.h"}}, // the latter leads to the former
		{"an added makefile", func() error { writeTree(t, tree, map[string]string{"a/Makefile": "x\n"}); return nil }, nil},
	} {
		before := map[string]time.Time{}
		names := []string{"Makefile", "a/one.h", "a/two.h", "a/b/c/deep.c"}
		for _, name := range names {
			before[name] = date(filepath.Join(state, "copy"), name)
		}
		time.Sleep(10 * time.Millisecond) // more than a tick of the file system's clock
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		bring(t, tree, state)
		for _, name := range names {
			now := date(filepath.Join(state, "copy"), name)
			if got, want := now.After(before[name]), slices.Contains(c.renewed, name); got != want || now.Before(before[name]) {
				t.Errorf("%s: the time of %s was %v and is %v, want it new: %v", c.name, name, before[name], now, want)
			}
		}
	}
}

// TestUpdateWithoutIndex damages what is known about a tree.
func TestUpdateWithoutIndex(t *testing.T) {
	tree, state := t.TempDir(), t.TempDir()
	writeTree(t, tree, smallTree)
	settle()
	want := bring(t, tree, state)
	path := filepath.Join(state, "index")
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
		if got := bring(t, tree, state); got.ID != want.ID || got.Read == 0 || got.Changed != 0 || !got.Opaque {
			t.Errorf("damaged index %d: %+v", i, got)
		}
	}
}

// TestUpdateMends interrupts an update at every file, and breaks the copy as an
// interrupted one may.
func TestUpdateMends(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(copied string) error
	}{
		{"a file is not there", func(copied string) error { return os.Remove(filepath.Join(copied, "a/two.h")) }},
		{"a directory is not there", func(copied string) error { return os.RemoveAll(filepath.Join(copied, "a")) }},
		{"a file is from before", func(copied string) error {
			return os.WriteFile(filepath.Join(copied, "a/two.h"), []byte("old\n"), 0o644)
		}},
		{"a removed file is still there", func(copied string) error { return os.WriteFile(filepath.Join(copied, "a/three.h"), nil, 0o644) }},
		{"half a file", func(copied string) error { return os.WriteFile(filepath.Join(copied, "a/.kheaders-one.h"), nil, 0o644) }},
		{"a file where a directory is", func(copied string) error {
			return errors.Join(os.RemoveAll(filepath.Join(copied, "a")), os.WriteFile(filepath.Join(copied, "a"), nil, 0o644))
		}},
		{"a directory where a file is", func(copied string) error {
			return errors.Join(os.RemoveAll(filepath.Join(copied, "Makefile")), os.MkdirAll(filepath.Join(copied, "Makefile/x"), 0o755))
		}},
		{"a link where a directory is", func(copied string) error {
			return errors.Join(os.RemoveAll(filepath.Join(copied, "a-b")), os.Symlink("a", filepath.Join(copied, "a-b")))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree, state := t.TempDir(), t.TempDir()
			writeTree(t, tree, smallTree)
			want := bring(t, tree, state)
			copied := filepath.Join(state, "copy")
			if err := errors.Join(os.Remove(filepath.Join(state, "index")), c.damage(copied)); err != nil {
				t.Fatal(err)
			}
			discarded := false
			o := options(tree, state)
			o.Discard = func() error { discarded = true; return nil }
			got, err := Update(t.Context(), o)
			if err != nil || got.ID != want.ID || !discarded {
				t.Fatalf("%v; it is %+v, discarded: %v", err, got, discarded)
			}
			if whole := bring(t, copied, t.TempDir()); whole.ID != want.ID {
				t.Errorf("the copy is %s, want %s", whole.ID, want.ID)
			}
			if _, err := os.Lstat(filepath.Join(copied, "a/.kheaders-one.h")); err == nil {
				t.Error("half a file is left")
			}
		})
	}
}

// TestUpdateWritesNothing checks that a tree is left alone, and that one that
// nobody may write to will do.
func TestUpdateWritesNothing(t *testing.T) {
	tree, state := t.TempDir(), t.TempDir()
	writeTree(t, tree, smallTree)
	list := func() string {
		var text strings.Builder
		err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			fmt.Fprintln(&text, path, info.Mode(), info.Size(), info.ModTime())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return text.String()
	}
	before := list()
	bring(t, tree, state)
	if after := list(); after != before {
		t.Errorf("the tree was\n%s\nand is\n%s", before, after)
	}
}

func TestUpdateErrors(t *testing.T) {
	if _, err := Update(t.Context(), options(filepath.Join(t.TempDir(), "none"), t.TempDir())); err == nil {
		t.Error("there is a copy of a directory that is not there")
	}
	tree, state := t.TempDir(), t.TempDir()
	writeTree(t, tree, smallTree)
	if err := os.MkdirAll(filepath.Join(state, "index/x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Update(t.Context(), options(tree, state)); err == nil {
		t.Error("an index that cannot be written is no error")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := Update(ctx, options(tree, t.TempDir())); !errors.Is(err, enough) {
		t.Errorf("cancelled, the error is %v", err)
	}
}
