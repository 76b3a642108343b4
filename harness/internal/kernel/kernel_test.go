// SPDX-License-Identifier: BSD-3-Clause

package kernel_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

// fixture is a toy kernel, tools and a store to build it with.
type fixture struct {
	store cache.Store
	tree  string
	tools string
	// calls tells how often make was called.
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
			if k.Cached || k.SourceDir != f.tree || k.Release != fakeVersion+"-kheaders" || k.Key == "" {
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
			if text := progress.String(); !strings.Contains(text, "ARCH="+a.Name) || !strings.Contains(text, "-j3 "+a.ImageTarget+" modules") {
				t.Errorf("the progress is\n%s", text)
			}

			calls := f.calls()
			again := f.mustBuild(t, a.Name)
			if again.Log != "" || !again.Cached {
				t.Errorf("the second time it is %+v", again)
			}
			if again.Log, again.Cached = k.Log, false; again != k {
				t.Errorf("it was %+v and is %+v", k, again)
			}
			if f.calls() != calls {
				t.Error("make was called although nothing had changed")
			}
		})
	}
}

// TestBuildModule builds a module against an entry of the cache, and holds that
// this changes nothing in it.
func TestBuildModule(t *testing.T) {
	f := newFixture(t)
	k := f.mustBuild(t, "x86_64")
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
	if err := (run.Cmd{Argv: []string{"make", "-C", k.Dir, "M=" + dir, "ARCH=x86_64", "modules"}}).Run(t.Context()); err != nil {
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
			if err := os.WriteFile(f.mustBuild(t, "x86_64").Image, []byte("x"), 0o755); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.mustBuild(t, "x86_64")
			change(t, f)
			if k := f.mustBuild(t, "x86_64"); k.Cached || !strings.HasPrefix(read(t, k.Image), "\x7fELF") {
				t.Errorf("it was not built again: %+v", k)
			}
		})
	}
}

func TestBuildFails(t *testing.T) {
	for _, step := range []string{"tinyconfig", "olddefconfig", "vmlinux", "modules"} {
		t.Run(step, func(t *testing.T) {
			f := newFixture(t)
			log := filepath.Join(t.TempDir(), "log")
			t.Setenv("FAIL", step)
			_, err := f.build(t, "x86_64", func(o *kernel.BuildOptions) { o.Log = log })
			e, ok := errors.AsType[*kernel.BuildError](err)
			if !ok || e.Cause != "kernel/"+step+".c:42:7: error: FAIL asks for this" || e.Log != log {
				t.Fatalf("the error is %v", err)
			}
			if hint.IsUsage(err) || hint.Of(err) == "" {
				t.Errorf("the hint is %q", hint.Of(err))
			}
			if !strings.Contains(read(t, log), e.Cause) {
				t.Error("the log does not have the cause")
			}

			// The command can be repeated by hand, and a later build
			// succeeds.
			re, ok := errors.AsType[*run.Error](err)
			if !ok {
				t.Fatalf("the error is %v", err)
			}
			t.Setenv("FAIL", "")
			if err := (run.Cmd{Argv: re.Argv, Dir: re.Dir}).Run(t.Context()); err != nil {
				t.Errorf("%s: %v", re.Command(), err)
			}
			if k := f.mustBuild(t, "x86_64"); k.Cached {
				t.Error("the failed build was taken for a kernel")
			}
		})
	}
}

func TestBuildLosesSymbols(t *testing.T) {
	f := newFixture(t)
	t.Setenv("LOSE", "PVPANIC KVM_GUEST")
	_, err := f.build(t, "x86_64")
	e, ok := errors.AsType[*kernel.ConfigError](err)
	if !ok || len(e.Lost) != 2 {
		t.Fatalf("the error is %v", err)
	}
	for _, want := range []string{"CONFIG_PVPANIC: wanted y, is not there", "CONFIG_KVM_GUEST: wanted y, is not there"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v", err)
		}
	}
	// Half of what an any-of names may be unknown.
	t.Setenv("LOSE", "SPECULATION_MITIGATIONS")
	f.mustBuild(t, "x86_64")
}

func TestBuildIgnoresEnvironment(t *testing.T) {
	f := newFixture(t)
	// Without LOCALVERSION, the state of a git repository would be in the
	// release.
	if err := os.Mkdir(filepath.Join(f.tree, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	want := read(t, f.mustBuild(t, "x86_64").Config)
	for name, value := range map[string]string{
		"MAKEFLAGS": "n", "ARCH": "arm64", "CROSS_COMPILE": "none-", "LOCALVERSION": "-ambient",
		"KCONFIG_CONFIG": "elsewhere", "KBUILD_OUTPUT": "/nonexistent", "O": "/nonexistent", "M": "/nonexistent", "LC_ALL": "de_DE.UTF-8",
	} {
		t.Setenv(name, value)
	}
	other := f
	other.store.Dir = t.TempDir()
	var progress lines
	k := other.mustBuild(t, "x86_64", func(o *kernel.BuildOptions) { o.Progress = progress.add })
	if k.Release != fakeVersion+"-kheaders" || read(t, k.Config) != want {
		t.Errorf("the release is %s", k.Release)
	}
	if !strings.Contains(progress.String(), "env -u ARCH -u CROSS_COMPILE") {
		t.Errorf("the progress is\n%s", &progress)
	}
	if again := f.mustBuild(t, "x86_64"); !again.Cached {
		t.Error("the environment is part of the key")
	}
}

func TestBuildMissingTool(t *testing.T) {
	type missing struct{ program, arch string }
	cases := []missing{{"make", "x86_64"}, {"flex", "x86_64"}, {"bison", "arm64"}, {"bc", "x86_64"}}
	for _, a := range target.All() {
		// The host's own compiler builds the tools that the build runs.
		cases = append(cases, missing{a.Cross() + "gcc", a.Name}, missing{a.Cross() + "ld", a.Name}, missing{"gcc", a.Name})
	}
	for _, c := range cases {
		t.Run(c.arch+" "+c.program, func(t *testing.T) {
			f := newFixture(t)
			if err := os.Remove(filepath.Join(f.tools, c.program)); err != nil {
				t.Fatal(err)
			}
			basename, err := run.Look("basename")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(basename, filepath.Join(f.tools, "basename")); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", f.tools)
			_, err = f.build(t, c.arch)
			if e, ok := errors.AsType[*run.NotFoundError](err); !ok || e.Program != c.program {
				t.Errorf("the error is %v", err)
			}
			if f.calls() != 0 {
				t.Error("make was called")
			}
			if left := entries(t, f.store, "kernel"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestBuildUsageErrors(t *testing.T) {
	f := newFixture(t)
	_, err := f.build(t, "x86_64", func(o *kernel.BuildOptions) { o.Profile = "none" })
	if !hint.IsUsage(err) || !strings.Contains(hint.Of(err), kernel.DefaultProfile) {
		t.Errorf("unknown profile: %v, %q", err, hint.Of(err))
	}
	if err := os.RemoveAll(filepath.Join(f.tree, "arch/arm64")); err != nil {
		t.Fatal(err)
	}
	if _, err = f.build(t, "arm64"); !hint.IsUsage(err) || !strings.Contains(err.Error(), "has no arch/arm64") {
		t.Errorf("missing architecture: %v, %q", err, hint.Of(err))
	}
}

func TestBuildCancelled(t *testing.T) {
	f := newFixture(t)
	source := fetch(t, f.store, f.tree)
	t.Setenv("HANG", "vmlinux")
	log := filepath.Join(t.TempDir(), "log")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	enough := errors.New("enough")
	go func() {
		for ctx.Err() == nil {
			if text, err := os.ReadFile(log); err == nil && strings.Contains(string(text), "HANG    vmlinux") {
				cancel(enough)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	_, err := kernel.Build(ctx, f.store, source, kernel.BuildOptions{Target: lookup(t, "x86_64"), Log: log})
	if !errors.Is(err, enough) {
		t.Errorf("the error is %v", err)
	}
	// A second one ends before make is called for it.
	calls := f.calls()
	if _, err := kernel.Build(ctx, f.store, source, kernel.BuildOptions{Target: lookup(t, "x86_64")}); !errors.Is(err, enough) || f.calls() != calls {
		t.Errorf("the error is %v after %d calls of make", err, f.calls()-calls)
	}
	if left := entries(t, f.store, "kernel"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	t.Setenv("HANG", "")
	if k := f.mustBuild(t, "x86_64"); k.Cached {
		t.Error("the cancelled build was taken for a kernel")
	}
}

// TestBuildChangesConfig has a build that does what kbuild must not: change the
// configuration that was checked.
func TestBuildChangesConfig(t *testing.T) {
	f := newFixture(t)
	path := filepath.Join(f.tree, "scripts/generate.sh")
	if err := os.WriteFile(path, []byte(read(t, path)+"echo CONFIG_LATE=y >> .config\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := f.build(t, "x86_64"); err == nil || !strings.Contains(err.Error(), "has changed the kernel's configuration") {
		t.Errorf("the error is %v", err)
	}
}

func TestBuildOfChangingSource(t *testing.T) {
	f := newFixture(t)
	source := fetch(t, f.store, f.tree)
	edit := func(line string) {
		if strings.HasSuffix(line, " modules") {
			if err := os.WriteFile(filepath.Join(f.tree, "kernel/toy.c"), []byte("int TOY;\n"), 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	_, err := kernel.Build(t.Context(), f.store, source, kernel.BuildOptions{Target: lookup(t, "x86_64"), Progress: edit})
	if err == nil || !strings.Contains(err.Error(), "was changed while it was being built") {
		t.Errorf("the error is %v", err)
	}
	if k := f.mustBuild(t, "x86_64"); k.Cached {
		t.Error("the mixture was taken for a kernel")
	}
}

func TestBuildTwiceAtOnce(t *testing.T) {
	f := newFixture(t)
	source := fetch(t, f.store, f.tree)
	kernels := make([]kernel.Kernel, 4)
	var wg sync.WaitGroup
	for i := range kernels {
		wg.Go(func() {
			k, err := kernel.Build(t.Context(), f.store, source, kernel.BuildOptions{Target: lookup(t, "x86_64")})
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
	_, err := f.build(t, "x86_64", func(o *kernel.BuildOptions) { o.Log = "/dev/full" })
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "no space left") || !strings.Contains(hint.Of(err), "free some") {
		t.Errorf("the error is %v, the hint %q", err, hint.Of(err))
	}

	// The same from a compiler: nothing is kept then.
	tree := filepath.Join(f.tree, "scripts/generate.sh")
	if err := os.WriteFile(tree, []byte("#!/bin/sh\necho 'a.s: fatal error: cannot write: No space left on device' >&2; exit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = f.build(t, "x86_64", func(o *kernel.BuildOptions) { o.Log = filepath.Join(t.TempDir(), "log") })
	if err == nil || !strings.Contains(err.Error(), "no space left on the device that holds "+f.store.Dir) || !strings.Contains(hint.Of(err), "free some") {
		t.Errorf("the error is %v, the hint %q", err, hint.Of(err))
	}
	if left := entries(t, f.store, "kernel"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestBuildFromSeed holds that a profile starts from the default's object tree,
// when there is one, and leaves that as it is.
func TestBuildFromSeed(t *testing.T) {
	f := newFixture(t)
	profile := func(o *kernel.BuildOptions) { o.Profile = "ikheaders" }
	const mark = "include/generated/mark.h"
	marked := func(k kernel.Kernel) bool {
		_, err := os.Stat(filepath.Join(k.Dir, mark))
		return err == nil
	}
	if k := f.mustBuild(t, "arm64", profile); marked(k) || !strings.Contains(read(t, k.Config), "\nCONFIG_IKHEADERS=y\n") {
		t.Errorf("from scratch it is %+v", k)
	}
	plain := f.mustBuild(t, "x86_64")
	write(t, filepath.Join(plain.Dir, mark), "")
	config := read(t, plain.Config)
	if k := f.mustBuild(t, "x86_64", profile); !marked(k) || !strings.Contains(read(t, k.Config), "\nCONFIG_IKHEADERS=y\n") {
		t.Errorf("from the default's it is %+v", k)
	}
	if again := f.mustBuild(t, "x86_64"); !again.Cached || read(t, again.Config) != config || read(t, filepath.Join(again.Dir, ".config")) != config {
		t.Errorf("the default's is now %+v", again)
	}
	// One that is damaged is no seed.
	write(t, plain.Config, "damaged")
	if k := f.mustBuild(t, "x86_64", func(o *kernel.BuildOptions) { o.Profile = "ikheaders-m" }); marked(k) {
		t.Error("a damaged object tree was copied")
	}
}
