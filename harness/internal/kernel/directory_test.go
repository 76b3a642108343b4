// SPDX-License-Identifier: BSD-3-Clause

package kernel_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	if first.Dir == tree || first.Version != fakeVersion || first.Key == "" {
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

// TestFetchBuiltTree fetches a tree in which a kernel was built, as most are that
// people work on.
func TestFetchBuiltTree(t *testing.T) {
	store := cache.Store{Dir: t.TempDir()}
	clean := fetch(t, store, fakeTree(t)).Key
	tree := fakeTree(t)
	write(t, filepath.Join(tree, ".gitignore"), ".*\n*.o\n/include/config/\n/include/generated/\n/arch/*/include/generated/\n/vmlinux\n")
	for name, what := range map[string]string{
		"a configuration": ".config", "a prepared tree": "include/config/auto.conf", "generated headers": "include/generated/autoconf.h",
		"an architecture's": "arch/" + second.SrcArch + "/include/generated/x.h", "objects": "kernel/toy.o", "a kernel": "vmlinux",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(tree, what)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(tree, what), "built\n")
		if err := os.MkdirAll(filepath.Join(tree, "include/config"), 0o755); err != nil {
			t.Fatal(err)
		}
		if source := fetch(t, store, tree); source.Key != clean {
			t.Errorf("with %s, it is another tree", name)
		}
		if got := read(t, filepath.Join(tree, what)); got != "built\n" {
			t.Errorf("%s is now %q", what, got)
		}
	}
}

// TestFetchDirectoryWaits fetches a tree that another run has.
func TestFetchDirectoryWaits(t *testing.T) {
	waits := 0
	store := cache.Store{Dir: t.TempDir(), OnWait: func(string, cache.Key) { waits++ }}
	tree := fakeTree(t)
	source, err := kernel.Fetch(t.Context(), store, parse(t, tree), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := kernel.Fetch(ctx, store, parse(t, tree), nil); !errors.Is(err, context.DeadlineExceeded) || waits != 1 {
		t.Errorf("the error is %v, it said %d times that it waits", err, waits)
	}
	source.Release()
	fetch(t, store, tree)
}
