// SPDX-License-Identifier: BSD-3-Clause

package snapshot

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestLink checks that the linked tree follows the first, except for what is
// apart.
func TestLink(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "linked")
	writeTree(t, from, smallTree)
	if err := errors.Join(buildIn(from, "*\n"), os.Remove(filepath.Join(from, "a/.#one.h")), leaveFiles(from, leftovers)); err != nil {
		t.Fatal(err)
	}
	mine := func(name string) bool { return name == "a/two.h" || name == "new/mine.c" }
	for _, change := range []func() error{
		func() error { return nil },
		func() error { writeTree(t, to, map[string]string{"a/two.h": "mine", "new/mine.c": "mine"}); return nil },
		func() error {
			return errors.Join(os.Remove(filepath.Join(from, "a/one.h")), os.WriteFile(filepath.Join(from, "a/one.h"), []byte("2"), 0o644))
		},
		func() error { return os.RemoveAll(filepath.Join(from, "a/b")) },
		func() error { return os.Symlink("one.h", filepath.Join(from, "a/link.h")) },
		func() error {
			return errors.Join(os.Remove(filepath.Join(from, "a/link.h")), os.Symlink("two.h", filepath.Join(from, "a/link.h")))
		},
		func() error {
			return errors.Join(os.Remove(filepath.Join(from, "a/link.h")), os.MkdirAll(filepath.Join(from, "a/link.h/x"), 0o755))
		},
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if err := Link(t.Context(), from, to, mine); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a/two.h", "new/mine.c"} {
			if text, err := os.ReadFile(filepath.Join(to, name)); err == nil && string(text) != "mine" {
				t.Errorf("%s is %q", name, text)
			}
		}
		a, b := bring(t, from, t.TempDir()), bring(t, to, t.TempDir())
		same := func(name string) bool { return !mine(name) }
		if a.Digest(same) != b.Digest(same) {
			t.Error("the linked tree is another")
		}
		for _, name := range append(slices.Clone(leftovers), ".git", "a/.#one.h", "build") {
			if _, err := os.Lstat(filepath.Join(to, name)); !os.IsNotExist(err) {
				t.Errorf("%s is linked: %v", name, err)
			}
		}
	}
	one, err := os.Stat(filepath.Join(from, "a/one.h"))
	if err != nil {
		t.Fatal(err)
	}
	if other, err := os.Stat(filepath.Join(to, "a/one.h")); err != nil || !os.SameFile(one, other) {
		t.Errorf("a/one.h is not the same file (%v)", err)
	}
}
