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

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

func TestBuildFails(t *testing.T) {
	for _, step := range []string{"tinyconfig", "olddefconfig", "vmlinux", "modules"} {
		t.Run(step, func(t *testing.T) {
			f := newFixture(t)
			log := filepath.Join(t.TempDir(), "log")
			t.Setenv("FAIL", step)
			_, err := f.build(t, first.Name, func(o *kernel.BuildOptions) { o.Log = log })
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

			// The command can be repeated by hand, and a later
			// build succeeds.
			re, ok := errors.AsType[*run.Error](err)
			if !ok {
				t.Fatalf("the error is %v", err)
			}
			t.Setenv("FAIL", "")
			if err := (run.Cmd{Argv: re.Argv, Dir: re.Dir}).Run(t.Context()); err != nil {
				t.Errorf("%s: %v", re.Command(), err)
			}
			if k := f.mustBuild(t, first.Name); k.Cached {
				t.Error("the failed build was taken for a kernel")
			}
		})
	}
}

func TestBuildLosesSymbols(t *testing.T) {
	f := newFixture(t)
	t.Setenv("LOSE", "PVPANIC KVM_GUEST")
	_, err := f.build(t, first.Name)
	e, ok := errors.AsType[*kernel.ConfigError](err)
	if !ok || len(e.Lost) != 2 {
		t.Fatalf("the error is %v", err)
	}
	for _, want := range []string{"CONFIG_PVPANIC: wanted y, is not there", "CONFIG_KVM_GUEST: wanted y, is not there"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v", err)
		}
	}
	// A kernel may know just one of the names in an any-of.
	t.Setenv("LOSE", "SPECULATION_MITIGATIONS")
	f.mustBuild(t, first.Name)
}

func TestBuildMissingTool(t *testing.T) {
	type missing struct{ program, arch string }
	cases := []missing{{"make", first.Name}, {"flex", first.Name}, {"bison", second.Name}, {"bc", first.Name}}
	for _, a := range target.All() {
		// The host's own compiler builds the tools that the build runs.
		cases = append(cases, missing{a.Cross() + "gcc", a.Name}, missing{a.Cross() + "ld", a.Name})
		if !a.Native() {
			cases = append(cases, missing{"gcc", a.Name})
		}
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
	_, err := f.build(t, first.Name, func(o *kernel.BuildOptions) { o.Profile = "none" })
	if !hint.IsUsage(err) || !strings.Contains(hint.Of(err), kernel.DefaultProfile) {
		t.Errorf("unknown profile: %v, %q", err, hint.Of(err))
	}
	if err := os.RemoveAll(filepath.Join(f.tree, "arch", second.SrcArch)); err != nil {
		t.Fatal(err)
	}
	if _, err = f.build(t, second.Name); !hint.IsUsage(err) || !strings.Contains(err.Error(), "has no arch/"+second.SrcArch) {
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
	_, err := kernel.Build(ctx, f.store, source, kernel.BuildOptions{Target: first, Log: log})
	if !errors.Is(err, enough) {
		t.Errorf("the error is %v", err)
	}
	// A second build gives up before it calls make.
	calls := f.calls()
	if _, err := kernel.Build(ctx, f.store, source, kernel.BuildOptions{Target: first}); !errors.Is(err, enough) || f.calls() != calls {
		t.Errorf("the error is %v after %d calls of make", err, f.calls()-calls)
	}
	if left := entries(t, f.store, "kernel"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	t.Setenv("HANG", "")
	if k := f.mustBuild(t, first.Name); k.Cached {
		t.Error("the cancelled build was taken for a kernel")
	}
}

// TestBuildChangesConfig runs a build that changes the configuration after it
// was checked, which kbuild must not do.
func TestBuildChangesConfig(t *testing.T) {
	f := newFixture(t)
	path := filepath.Join(f.tree, "scripts/generate.sh")
	if err := os.WriteFile(path, []byte(read(t, path)+"echo CONFIG_LATE=y >> .config\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := f.build(t, first.Name); err == nil || !strings.Contains(err.Error(), "has changed the kernel's configuration") {
		t.Errorf("the error is %v", err)
	}
}

// TestBuildOfChangingSource edits a tree while it is being built. The kernel has
// what was there before; the next one has the edit.
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
	k, err := kernel.Build(t.Context(), f.store, source, kernel.BuildOptions{Target: first, Progress: edit})
	if err != nil || strings.Contains(read(t, filepath.Join(k.SourceDir, "kernel/toy.c")), "TOY") {
		t.Errorf("%v; the kernel is %+v", err, k)
	}
	if k := f.mustBuild(t, first.Name); k.Cached || !strings.Contains(read(t, filepath.Join(k.SourceDir, "kernel/toy.c")), "TOY") {
		t.Errorf("after the edit, the kernel is %+v", k)
	}
}
