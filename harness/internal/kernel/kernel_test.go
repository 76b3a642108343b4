// SPDX-License-Identifier: BSD-3-Clause

package kernel_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

// fixture is a toy kernel, with tools and a store to build it with.
type fixture struct {
	store cache.Store
	tree  string
	tools string
	// calls returns how often make was called.
	calls func() int
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	f := fixture{store: cache.Store{Dir: t.TempDir()}, tree: fakeTree(t), tools: fakeTools(t)}
	f.calls = countMake(t, f.tools)
	return f
}

func (f fixture) build(t *testing.T, arch string, change ...func(*kernel.BuildOptions)) (kernel.Kernel, error) {
	t.Helper()
	o := kernel.BuildOptions{Target: lookup(t, arch)}
	for _, c := range change {
		c(&o)
	}
	return kernel.Build(t.Context(), f.store, fetch(t, f.store, f.tree), o)
}

func (f fixture) mustBuild(t *testing.T, arch string, change ...func(*kernel.BuildOptions)) kernel.Kernel {
	t.Helper()
	k, err := f.build(t, arch, change...)
	if err != nil {
		t.Fatalf("%v (%s)", err, hint.Of(err))
	}
	return k
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestBuild(t *testing.T) {
	for _, a := range target.All() {
		t.Run(a.Name, func(t *testing.T) {
			f := newFixture(t)
			var progress lines
			k := f.mustBuild(t, a.Name, func(o *kernel.BuildOptions) { o.Progress = progress.add; o.Jobs = 3 })
			if k.Cached || k.How != "built" || k.SourceDir == f.tree || k.Release != fakeVersion+"-kheaders" || k.Key == "" {
				t.Errorf("the kernel is %+v", k)
			}
			if k.Image != filepath.Join(k.Dir, a.ImagePath) || read(t, k.Image) == "" {
				t.Errorf("the image is %s", k.Image)
			}
			if config := read(t, k.Config); config != read(t, filepath.Join(k.Dir, ".config")) || !strings.Contains(config, "\nCONFIG_PVPANIC_PCI=y\n") {
				t.Errorf("the configuration is\n%s", config)
			}
			log := read(t, k.Log)
			if !strings.Contains(log, "  LD      vmlinux") || strings.Contains(log, "override") {
				t.Errorf("the log is\n%s", log)
			}
			if text := progress.String(); !strings.Contains(text, "ARCH="+a.MakeArch) || !strings.Contains(text, "-j3 "+a.ImageTarget+" modules") {
				t.Errorf("the progress is\n%s", text)
			}

			calls := f.calls()
			again := f.mustBuild(t, a.Name)
			if again.Log != "" || !again.Cached || again.How != "from the cache" {
				t.Errorf("the second time it is %+v", again)
			}
			if again.Log, again.How, again.Cached = k.Log, k.How, false; again != k {
				t.Errorf("it was %+v and is %+v", k, again)
			}
			if f.calls() != calls {
				t.Error("make was called although nothing had changed")
			}
		})
	}
}

// TestBuildModule builds a module against an entry of the cache, and checks
// that this changes nothing in it.
func TestBuildModule(t *testing.T) {
	f := newFixture(t)
	k := f.mustBuild(t, first.Name)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"Kbuild": "obj-m := kheaders.o\n", "kheaders_data.tar.xz": "archive",
		"kheaders.h": "#define KHEADERS_ARCHIVE_SIZE 7\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := contents(t, k.Dir)
	if err := (run.Cmd{Argv: []string{"make", "-C", k.Dir, "M=" + dir, "ARCH=" + first.MakeArch, "modules"}}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ko := read(t, filepath.Join(dir, "kheaders.ko")); !strings.Contains(ko, "vermagic="+k.Release+" ") {
		t.Errorf("the module is %q", ko)
	}
	if after := contents(t, k.Dir); after != before {
		t.Errorf("the object tree was\n%s\nand is\n%s", before, after)
	}
}

// contents lists the files below a directory with their times.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b.WriteString(path + " " + info.ModTime().String() + "\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestBuildAgain(t *testing.T) {
	changes := map[string]func(t *testing.T, f fixture){
		"source": func(t *testing.T, f fixture) {
			if err := os.WriteFile(filepath.Join(f.tree, "kernel/toy.c"), []byte("int TOY;\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"compiler": func(t *testing.T, _ fixture) { t.Setenv("VERSION", "2.0") },
		"image damaged": func(t *testing.T, f fixture) {
			if err := os.WriteFile(f.mustBuild(t, first.Name).Image, []byte("x"), 0o755); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.mustBuild(t, first.Name)
			change(t, f)
			if k := f.mustBuild(t, first.Name); k.Cached || !strings.HasPrefix(read(t, k.Image), "\x7fELF") {
				t.Errorf("it was not built again: %+v", k)
			}
		})
	}
}

func TestBuildIgnoresEnvironment(t *testing.T) {
	f := newFixture(t)
	// Without LOCALVERSION, the release would contain the state of a git
	// repository.
	if err := os.Mkdir(filepath.Join(f.tree, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	want := read(t, f.mustBuild(t, first.Name).Config)
	for name, value := range map[string]string{
		"MAKEFLAGS": "n", "ARCH": second.MakeArch, "CROSS_COMPILE": "none-", "LOCALVERSION": "-ambient",
		"KCONFIG_CONFIG": "elsewhere", "KBUILD_OUTPUT": "/nonexistent", "O": "/nonexistent", "M": "/nonexistent", "LC_ALL": "de_DE.UTF-8",
	} {
		t.Setenv(name, value)
	}
	other := f
	other.store.Dir = t.TempDir()
	var progress lines
	k := other.mustBuild(t, first.Name, func(o *kernel.BuildOptions) { o.Progress = progress.add })
	if k.Release != fakeVersion+"-kheaders" || read(t, k.Config) != want {
		t.Errorf("the release is %s", k.Release)
	}
	if !strings.Contains(progress.String(), "env -u ARCH -u CROSS_COMPILE") {
		t.Errorf("the progress is\n%s", &progress)
	}
	if again := f.mustBuild(t, first.Name); !again.Cached {
		t.Error("the environment is part of the key")
	}
}

func TestBuildTwiceAtOnce(t *testing.T) {
	f := newFixture(t)
	source := fetch(t, f.store, f.tree)
	kernels := make([]kernel.Kernel, 4)
	var wg sync.WaitGroup
	for i := range kernels {
		wg.Go(func() {
			k, err := kernel.Build(t.Context(), f.store, source, kernel.BuildOptions{Target: first})
			if err != nil {
				t.Error(err)
			}
			kernels[i] = k
		})
	}
	wg.Wait()
	built := 0
	for _, k := range kernels {
		if !k.Cached {
			built++
		}
		if k.Dir != kernels[0].Dir {
			t.Errorf("two runs have %s and %s", k.Dir, kernels[0].Dir)
		}
	}
	if built != 1 || f.calls() != 3 {
		t.Errorf("%d were built, make was called %d times", built, f.calls())
	}
}

func TestBuildDiskFull(t *testing.T) {
	f := newFixture(t)
	_, err := f.build(t, first.Name, func(o *kernel.BuildOptions) { o.Log = "/dev/full" })
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "no space left") || !strings.Contains(hint.Of(err), "free some") {
		t.Errorf("the error is %v, the hint %q", err, hint.Of(err))
	}

	// The same error from a compiler: nothing is kept then.
	tree := filepath.Join(f.tree, "scripts/generate.sh")
	if err := os.WriteFile(tree, []byte("#!/bin/sh\necho 'a.s: fatal error: cannot write: No space left on device' >&2; exit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = f.build(t, first.Name, func(o *kernel.BuildOptions) { o.Log = filepath.Join(t.TempDir(), "log") })
	if err == nil || !strings.Contains(err.Error(), "no space left on the device that holds "+f.store.Dir) || !strings.Contains(hint.Of(err), "free some") {
		t.Errorf("the error is %v, the hint %q", err, hint.Of(err))
	}
	if left := entries(t, f.store, "kernel"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
