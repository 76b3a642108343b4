// SPDX-License-Identifier: BSD-3-Clause

package kmod_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kheaders/kheaders/harness/hint"
	"github.com/kheaders/kheaders/harness/kmod"
	"github.com/kheaders/kheaders/harness/run"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/module/source"
)

// native returns the host's architecture: the toy kernel is built with the
// host's own compiler.
func native(t *testing.T) target.Target {
	t.Helper()
	for _, arch := range target.All() {
		if arch.Native() {
			return arch
		}
	}
	t.Fatal("the host is of no architecture that kernels are built for")
	return target.Target{}
}

// write fills a directory below a temporary one.
func write(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// sourceDir renders the module for an archive.
func sourceDir(t *testing.T, archive string) string {
	t.Helper()
	files, err := source.Render(source.Archive{SHA256: digest(archive), Size: int64(len(archive))})
	if err != nil {
		t.Fatal(err)
	}
	files[source.ArchiveName] = []byte(archive)
	dir := t.TempDir()
	write(t, dir, files)
	return dir
}

func options(t *testing.T) kmod.BuildOptions {
	t.Helper()
	return kmod.BuildOptions{
		KernelBuild: filepath.Join("testdata", "kernel"),
		Target:      native(t),
		Dir:         sourceDir(t, archive),
		Log:         filepath.Join(t.TempDir(), "log"),
		Jobs:        2,
	}
}

func TestBuild(t *testing.T) {
	// None of this may reach the build.
	t.Setenv("MAKEFLAGS", "n")
	t.Setenv("KBUILD_OUTPUT", "/nowhere")
	t.Setenv("KCPPFLAGS", "-DX")
	t.Setenv("KCFLAGS", "-DX")
	t.Setenv("KBUILD_BUILD_USER", "me")
	t.Setenv("LC_ALL", "C.UTF-8")

	o := options(t)
	ko, err := kmod.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(o.Dir, "kheaders.ko"); ko != want {
		t.Errorf("Build = %s, want %s", ko, want)
	}
	relocate := "-fdebug-prefix-map=" + o.Dir + "=."
	want := "ARCH=" + o.Target.Name + "\nCROSS_COMPILE=\nKCFLAGS=" + relocate + "\nKAFLAGS=" + relocate +
		"\nKCPPFLAGS=\nKBUILD_OUTPUT=\nKBUILD_BUILD_USER=kheaders\nLC_ALL=C\n"
	got, err := os.ReadFile(filepath.Join(o.Dir, "variables"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("make's variables (-want +got):\n%s", diff)
	}
	log, err := os.ReadFile(o.Log)
	if err != nil {
		t.Fatal(err)
	}
	if first, _, _ := strings.Cut(string(log), "\n"); !strings.HasPrefix(first, "+ make -C ") || !strings.HasSuffix(first, " -j2 modules") {
		t.Errorf("the log starts with %q", first)
	}

	// What the assembler made of kheaders_data.S is what Inspect finds.
	info, err := kmod.Inspect(ko)
	if err != nil {
		t.Fatal(err)
	}
	if err := info.Check(kmod.Want{Target: o.Target, Release: "6.12.0-toy", SHA256: digest(archive)}); err != nil {
		t.Error(err)
	}
}

func TestBuildFails(t *testing.T) {
	t.Run("make fails", func(t *testing.T) {
		o := options(t)
		write(t, o.Dir, map[string][]byte{"fail": nil})
		_, err := kmod.Build(t.Context(), o)
		failure, ok := errors.AsType[*run.Error](err)
		if !ok || err.Error() != "building kheaders.ko: make: exit status 2" {
			t.Fatalf("error %v (%T)", err, err)
		}
		if failure.Log != o.Log || !strings.Contains(strings.Join(failure.Tail, "\n"), "error: this cannot be") {
			t.Errorf("log %q, tail %q", failure.Log, failure.Tail)
		}
	})
	t.Run("the archive is cut short", func(t *testing.T) {
		o := options(t)
		write(t, o.Dir, map[string][]byte{source.ArchiveName: []byte(archive[1:])})
		_, err := kmod.Build(t.Context(), o)
		failure, ok := errors.AsType[*run.Error](err)
		if !ok || !strings.Contains(strings.Join(failure.Tail, "\n"), "kheaders_data.tar.xz has not the size") {
			t.Errorf("error %v (%+v)", err, failure)
		}
	})
	t.Run("make makes nothing", func(t *testing.T) {
		o := options(t)
		write(t, o.Dir, map[string][]byte{"idle": nil})
		if _, err := kmod.Build(t.Context(), o); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %v, want %v", err, os.ErrNotExist)
		}
	})
	t.Run("no make", func(t *testing.T) {
		t.Setenv("PATH", "")
		_, err := kmod.Build(t.Context(), options(t))
		if missing, ok := errors.AsType[*run.NotFoundError](err); !ok || missing.Program != "make" {
			t.Errorf("error %v (%T)", err, err)
		}
	})
}

func TestBuildRefuses(t *testing.T) {
	const config = "include/config/auto.conf"
	tree := func(auto string) map[string][]byte {
		return map[string][]byte{"Makefile": nil, "Module.symvers": nil, config: []byte(auto)}
	}
	without := func(name string) map[string][]byte {
		files := tree("CONFIG_MODULES=y\nCONFIG_PROC_FS=y\n")
		delete(files, name)
		return files
	}
	for name, test := range map[string]struct {
		kernel     map[string][]byte
		dir        string
		want, hint string
	}{
		"no kernel":        {without("Makefile"), "m", "no Makefile", "directory in which the kernel was built"},
		"not configured":   {without(config), "m", "no " + config, "make modules_prepare"},
		"modules missing":  {without("Module.symvers"), "m", "no Module.symvers", "make modules"},
		"no modules":       {tree("CONFIG_PROC_FS=y\n"), "m", "without CONFIG_MODULES", "CONFIG_MODULES=y"},
		"no procfs":        {tree("CONFIG_MODULES=y\n# CONFIG_PROC_FS=y\n"), "m", "without CONFIG_PROC_FS", "CONFIG_PROC_FS=y"},
		"space in the dir": {without(""), "my module", `for its " "`, "plain name"},
		"comma in the dir": {without(""), "a,b", `for its ","`, "plain name"},
		"colon in the dir": {without(""), "a:b", `for its ":"`, "plain name"},
	} {
		t.Run(name, func(t *testing.T) {
			kernel := t.TempDir()
			write(t, kernel, test.kernel)
			dir := filepath.Join(kernel, test.dir)
			_, err := kmod.Build(t.Context(), kmod.BuildOptions{KernelBuild: kernel, Target: native(t), Dir: dir})
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %v, want one line with %q", err, test.want)
			}
			if got := hint.Of(err); !hint.IsUsage(err) || !strings.Contains(got, test.hint) {
				t.Errorf("hint %q, want %q", got, test.hint)
			}
		})
	}
}
