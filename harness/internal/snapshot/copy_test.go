// SPDX-License-Identifier: BSD-3-Clause

package snapshot

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestUpdateTypes changes files into directories and links, and back.
func TestUpdateTypes(t *testing.T) {
	tree, state := t.TempDir(), t.TempDir()
	outside := t.TempDir()
	writeTree(t, tree, smallTree)
	writeTree(t, outside, map[string]string{"driver/foo.c": "foo\n", "driver/Makefile": "obj-y\n", "single.h": "single\n"})
	in := func(name string) string { return filepath.Join(tree, name) }
	for _, step := range []struct {
		name   string
		change func() error
		opaque bool
	}{
		{"the start", func() error { return nil }, false},
		{"a directory becomes a file", func() error { return errors.Join(os.RemoveAll(in("a")), os.WriteFile(in("a"), []byte("a"), 0o644)) }, false},
		{"a file becomes a directory", func() error {
			return errors.Join(os.Remove(in("a")), os.Mkdir(in("a"), 0o755), os.WriteFile(in("a/one.h"), []byte("1"), 0o644))
		}, false},
		{"a directory becomes a link", func() error { return errors.Join(os.Rename(in("a"), in("z")), os.Symlink("z", in("a"))) }, true},
		{"a link becomes a directory", func() error {
			return errors.Join(os.Remove(in("a")), os.Mkdir(in("a"), 0o755), os.WriteFile(in("a/new.h"), []byte("1"), 0o644))
		}, false},
		{"a link to nowhere", func() error { return os.Symlink("/nonexistent/x", in("nowhere")) }, true},
		{"a link to itself", func() error { return os.Symlink("circle", in("circle")) }, true},
		{"a link out of the tree", func() error { return os.Symlink(filepath.Join(outside, "single.h"), in("a/single.h")) }, false},
		{"a directory out of the tree", func() error { return os.Symlink(filepath.Join(outside, "driver"), in("driver")) }, false},
		{"a file there changes", func() error { return os.WriteFile(filepath.Join(outside, "driver/foo.c"), []byte("FOO\n"), 0o644) }, false},
		{"a file there is new", func() error { return os.WriteFile(filepath.Join(outside, "driver/bar.c"), nil, 0o644) }, false},
		{"a link to what contains the tree", func() error { return os.Symlink(filepath.Dir(tree), in("up")) }, true},
		{"a link there to the tree", func() error { return os.Symlink(tree, filepath.Join(outside, "driver/back")) }, true},
		{"an absolute link into the tree", func() error { return os.Symlink(in("Makefile"), in("z/Makefile")) }, false},
	} {
		if err := step.change(); err != nil {
			t.Fatal(err)
		}
		got := bring(t, tree, state)
		if got.Opaque != step.opaque {
			t.Errorf("%s: opaque is %v", step.name, got.Opaque)
		}
		if fresh := bring(t, tree, t.TempDir()); fresh.ID != got.ID {
			t.Errorf("%s: the copy is %s, a new one %s", step.name, got.ID, fresh.ID)
		}
		for name, want := range map[string]string{"driver/foo.c": "driver/foo.c", "driver/bar.c": "driver/bar.c", "a/single.h": "single.h"} {
			if _, err := os.Stat(in(name)); err != nil {
				continue
			}
			info, err := os.Lstat(filepath.Join(state, "copy", name))
			if err != nil || !info.Mode().IsRegular() || info.Size() != size(t, filepath.Join(outside, want)) {
				t.Errorf("%s: %s is %v (%v) in the copy", step.name, name, info, err)
			}
		}
	}
	if link, err := os.Readlink(filepath.Join(state, "copy/z/Makefile")); link != "../Makefile" {
		t.Errorf("the copy has a link to %q (%v)", link, err)
	}
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
