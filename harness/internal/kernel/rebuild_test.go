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

	"github.com/kheaders/kheaders/harness/internal/kernel"
)

// TestRebuild edits a tree and builds again: in the same place, with no more calls
// of make than the edit is worth, and with another identity for what depends on
// it.
func TestRebuild(t *testing.T) {
	f := newFixture(t)
	k := f.mustBuild(t, first.Name)
	const once, twice = 1, 4 // make; tinyconfig, olddefconfig, prepare, make
	for _, c := range []struct {
		name             string
		edit             func() error
		calls            int
		headers, modules bool // that their keys change
	}{
		{"a source file", func() error { return addLine(f, "kernel/toy.c") }, once, false, false},
		{"a packed header", func() error { return addLine(f, "include/linux/types.h") }, once, true, true},
		{"a new header of the architecture's", func() error { return addLine(f, "arch/"+first.SrcArch+"/include/asm/toy.h") }, twice, true, true},
		{"the same header", func() error { return addLine(f, "arch/"+first.SrcArch+"/include/asm/toy.h") }, once, true, true},
		{"another architecture's", func() error { return addLine(f, "arch/"+second.SrcArch+"/include/asm/toy.h") }, twice, false, false},
		{"a program of kbuild's", func() error { return addLine(f, "scripts/mod/modpost.c") }, twice, false, true},
		{"a makefile", func() error { return addLine(f, "kernel/Makefile") }, twice, false, false},
		{"the Makefile", func() error { return addLine(f, "Makefile") }, twice, false, true},
		{"Kconfig", func() error { return addLine(f, "Kconfig") }, twice, false, false},
		{"documentation", func() error { return addLine(f, "Documentation/toy.rst") }, once, false, false},
		{"nothing", func() error { return nil }, 0, false, false},
		{"an editor's lock", func() error { return os.Symlink("me@here.1", filepath.Join(f.tree, "kernel/.#toy.c")) }, 0, false, false},
	} {
		if err := c.edit(); err != nil {
			t.Fatal(err)
		}
		before := f.calls()
		now := f.mustBuild(t, first.Name)
		if got := f.calls() - before; got != c.calls {
			t.Errorf("%s: make was called %d times, want %d", c.name, got, c.calls)
		}
		if now.Dir != k.Dir || now.SourceDir != k.SourceDir {
			t.Errorf("%s: the kernel moved from %s to %s", c.name, k.Dir, now.Dir)
		}
		if (now.Key != k.Key) != (c.calls > 0) || (now.HeadersKey != k.HeadersKey) != c.headers || (now.ModulesKey != k.ModulesKey) != c.modules {
			t.Errorf("%s: of the keys, the kernel's changed: %v, the headers': %v, the modules': %v",
				c.name, now.Key != k.Key, now.HeadersKey != k.HeadersKey, now.ModulesKey != k.ModulesKey)
		}
		k = now
	}
}

// addLine adds a line to a file, or makes one.
func addLine(f fixture, name string) error {
	path := filepath.Join(f.tree, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteString("# more\n")
	return errors.Join(err, file.Close())
}

// TestRebuildGenerated checks that generated headers keep their times if they come
// out the same, and go if nothing asks for them any more: after a success, and when
// a build in between failed or was interrupted.
func TestRebuildGenerated(t *testing.T) {
	for _, between := range []string{"nothing", "configuring fails", "preparing fails", "a build fails", "an interruption"} {
		t.Run(between, func(t *testing.T) {
			f := newFixture(t)
			k := f.mustBuild(t, first.Name)
			stale, kept := filepath.Join(k.Dir, "include/generated/stale.h"), filepath.Join(k.Dir, "include/generated/autoconf.h")
			write(t, stale, "")
			long := time.Now().Add(-time.Hour)
			if err := os.Chtimes(kept, long, long); err != nil {
				t.Fatal(err)
			}
			if err := addLine(f, "Kconfig"); err != nil {
				t.Fatal(err)
			}
			generate := filepath.Join(f.tree, "scripts/generate.sh")
			text := read(t, generate)
			switch between {
			case "configuring fails":
				t.Setenv("FAIL", "olddefconfig")
				f.mustFail(t)
			case "preparing fails":
				write(t, generate, "#!/bin/sh\nexit 1\n")
				f.mustFail(t)
			case "a build fails":
				t.Setenv("FAIL", "vmlinux")
				f.mustFail(t)
			case "an interruption":
				f.interrupt(t, "vmlinux")
			}
			t.Setenv("FAIL", "")
			write(t, generate, text)
			f.mustBuild(t, first.Name)
			if _, err := os.Stat(stale); err == nil {
				t.Error("a header that nothing asks for is still there")
			}
			if info, err := os.Stat(kept); err != nil || !info.ModTime().Equal(long) {
				t.Errorf("a header that came out the same is now of %v (%v)", info.ModTime(), err)
			}
		})
	}
}

func (f fixture) mustFail(t *testing.T) {
	t.Helper()
	if k, err := f.build(t, first.Name); err == nil {
		t.Errorf("it has built %+v", k)
	}
}

// interrupt begins a build and cancels it while a step of it hangs.
func (f fixture) interrupt(t *testing.T, step string) {
	t.Helper()
	t.Setenv("HANG", step)
	defer t.Setenv("HANG", "")
	log := filepath.Join(t.TempDir(), "log")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if text, err := os.ReadFile(log); err == nil && strings.Contains(string(text), "HANG    "+step) {
				cancel()
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	if _, err := kernel.Build(ctx, f.store, fetch(t, f.store, f.tree), kernel.BuildOptions{Target: first, Log: log}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

// TestRebuildInterrupted checks that nothing is believed that an interrupted build
// may have written in part, and that all else is.
func TestRebuildInterrupted(t *testing.T) {
	f := newFixture(t)
	k := f.mustBuild(t, first.Name)
	whole, part := filepath.Join(k.Dir, "whole.o"), filepath.Join(k.Dir, "part.o")
	touched := filepath.Join(k.Dir, "include/config/TOY")
	write(t, whole, "")
	time.Sleep(20 * time.Millisecond) // more than a tick of the file system's clock
	if err := addLine(f, "kernel/toy.c"); err != nil {
		t.Fatal(err)
	}
	f.interrupt(t, "vmlinux")
	write(t, part, "")
	write(t, touched, "")
	f.interrupt(t, "vmlinux") // twice in a row
	var said lines
	if k := f.mustBuild(t, first.Name, func(o *kernel.BuildOptions) { o.Progress = said.add }); k.Cached {
		t.Error("the interrupted build was taken for a kernel")
	}
	for path, want := range map[string]bool{whole: true, part: false, touched: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
	}
	if !strings.Contains(said.String(), "interrupted") {
		t.Errorf("it said\n%s", &said)
	}
}

// TestRebuildPatched checks that a patched tree follows the user's.
func TestRebuildPatched(t *testing.T) {
	f := newFixture(t)
	patch := []byte("--- a/kernel/toy.c\n+++ b/kernel/toy.c\n@@ -1,2 +1,3 @@\n int toy;\n+int patched;\n int end;\n--- /dev/null\n+++ b/kernel/new.c\n@@ -0,0 +1 @@\n+int new;\n")
	write(t, filepath.Join(f.tree, "kernel/toy.c"), "int toy;\nint end;\n")
	build := func(want map[string]string) kernel.Kernel {
		t.Helper()
		patched, err := kernel.Patch(t.Context(), f.store, fetch(t, f.store, f.tree), patch, []string{"kernel/toy.c"})
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range want {
			if got := read(t, filepath.Join(patched.Dir, name)); got != text {
				t.Errorf("%s is %q, want %q", name, got, text)
			}
		}
		k, err := kernel.Build(t.Context(), f.store, patched, kernel.BuildOptions{Target: first})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := build(map[string]string{"kernel/toy.c": "int toy;\nint patched;\nint end;\n", "kernel/new.c": "int new;\n"})
	write(t, filepath.Join(f.tree, "kernel/other.c"), "int other;\n")
	second := build(map[string]string{"kernel/other.c": "int other;\n", "kernel/new.c": "int new;\n"})
	if second.Dir != first.Dir || second.Key == first.Key {
		t.Errorf("after an edit it is %+v", second)
	}
	write(t, filepath.Join(f.tree, "kernel/toy.c"), "int more;\nint toy;\nint end;\n")
	build(map[string]string{"kernel/toy.c": "int more;\nint toy;\nint patched;\nint end;\n"})
	// The user's own files are as they were.
	if got := read(t, filepath.Join(f.tree, "kernel/toy.c")); got != "int more;\nint toy;\nint end;\n" {
		t.Errorf("the user's file is %q", got)
	}
}
