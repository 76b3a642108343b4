// SPDX-License-Identifier: BSD-3-Clause

package kernel_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
)

func TestFetchDirectory(t *testing.T) {
	store := cache.Store{Dir: t.TempDir()}
	tree := fakeTree(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(tree, link); err != nil {
		t.Fatal(err)
	}
	first := fetch(t, store, tree)
	if first.Dir != tree || first.Version != fakeVersion || first.Key == "" {
		t.Errorf("the source is %+v", first)
	}
	if second := fetch(t, store, link); second.Dir != first.Dir || second.Key != first.Key {
		t.Errorf("through a link, the source is %+v", second)
	}
	if err := os.WriteFile(filepath.Join(tree, "kernel/toy.c"), []byte("edited"), 0o644); err != nil {
		t.Fatal(err)
	}
	if third := fetch(t, store, tree); third.Key == first.Key {
		t.Error("an edit was not seen")
	}
}

func TestFetchDirectoryErrors(t *testing.T) {
	cases := []struct {
		name      string
		change    func(tree string) error
		err, hint string
	}{
		{"empty", os.RemoveAll, "it has no Kbuild", "top directory"},
		{"no Kconfig", func(tree string) error { return os.Remove(filepath.Join(tree, "Kconfig")) }, "it has no Kconfig", "top directory"},
		{"no Makefile", func(tree string) error { return os.Remove(filepath.Join(tree, "Makefile")) }, "it has no Makefile", "top directory"},
		{"other Makefile", func(tree string) error { return os.WriteFile(filepath.Join(tree, "Makefile"), []byte("all:\n"), 0o644) }, "no VERSION", "top directory"},
		{"configured", func(tree string) error { return os.WriteFile(filepath.Join(tree, ".config"), nil, 0o644) }, "already contains a build (.config)", "git worktree"},
		{"prepared", func(tree string) error { return os.MkdirAll(filepath.Join(tree, "include/config"), 0o755) }, "(include/config)", "git worktree"},
		{"generated", func(tree string) error {
			return os.MkdirAll(filepath.Join(tree, "arch", second.SrcArch, "include/generated"), 0o755)
		}, "(arch/" + second.SrcArch + "/include/generated)", "git worktree"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tree := fakeTree(t)
			if err := c.change(tree); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(tree, 0o755); err != nil {
				t.Fatal(err)
			}
			_, err := kernel.Fetch(t.Context(), cache.Store{Dir: t.TempDir()}, parse(t, tree), nil)
			if err == nil || !strings.Contains(err.Error(), c.err) || !hint.IsUsage(err) || !strings.Contains(hint.Of(err), c.hint) {
				t.Errorf("the error is %v, the hint %q", err, hint.Of(err))
			}
		})
	}
}
