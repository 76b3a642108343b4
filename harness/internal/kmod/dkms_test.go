// SPDX-License-Identifier: BSD-3-Clause

package kmod_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/kmod"
)

// fakeDKMS puts a dkms into PATH that writes its calls to a file. When told to
// build, it runs script in a directory like dkms's own.
func fakeDKMS(t *testing.T, script string) (calls string) {
	t.Helper()
	bin := t.TempDir()
	calls = filepath.Join(bin, "calls")
	text := `#!/bin/sh
echo "$ARCH|$CROSS_COMPILE|$KBUILD_BUILD_TIMESTAMP|$*" >> '` + calls + `'
test "$1" = build || exit 0
mkdir -p "$3/kheaders/1.0/build" "$3/kheaders/1.0/${10}/${12}/module"
cd "$3/kheaders/1.0"
` + script + "\n"
	if err := os.WriteFile(filepath.Join(bin, "dkms"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("KBUILD_BUILD_TIMESTAMP", "@1")
	return calls
}

func TestBuildDKMS(t *testing.T) {
	calls := fakeDKMS(t, `echo module > "${10}/${12}/module/kheaders.ko"`)
	dir, arch := t.TempDir(), native(t)
	if err := kmod.BuildDKMS(t.Context(), toy(t), kmod.BuildOptions{Target: arch, Dir: dir, Jobs: 3}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, kmod.ModuleFile)); err != nil || string(text) != "module\n" {
		t.Errorf("the module is %q, %v", text, err)
	}
	text, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	trees := " --dkmstree DIR/dkms --sourcetree DIR/src --installtree DIR/modules"
	want := strings.Join([]string{
		arch.MakeArch + "||@1|add" + trees + " DIR/kheaders-dkms",
		arch.MakeArch + "||@1|build" + trees + " kheaders/1.0 -k 6.12.0-toy -a " + arch.Uname + " --kernelsourcedir KERNEL -j 3",
	}, "\n") + "\n"
	got := strings.ReplaceAll(strings.ReplaceAll(string(text), dir, "DIR"), toy(t).Dir, "KERNEL")
	if got != want {
		t.Errorf("the calls are\n%swant\n%s", got, want)
	}
}

func TestBuildDKMSFails(t *testing.T) {
	for name, test := range map[string]struct{ script, want string }{
		"make fails":    {"echo 'kheaders_pack: no such tree' > build/make.log; exit 10", "kheaders_pack: no such tree"},
		"it says why":   {"echo 'x.c:1: error: y' > build/make.log; exit 10", "x.c:1: error: y"},
		"before make":   {"exit 6", "exit status 6"},
		"makes nothing": {"exit 0", "dkms succeeded without making it"},
	} {
		t.Run(name, func(t *testing.T) {
			fakeDKMS(t, test.script)
			dir := t.TempDir()
			log := filepath.Join(t.TempDir(), "log")
			err := kmod.BuildDKMS(t.Context(), toy(t), kmod.BuildOptions{Target: native(t), Dir: dir, Log: log})
			if text, err := os.ReadFile(log); err != nil || strings.Contains(test.script, "make.log") && !strings.Contains(string(text), "\n"+test.want+"\n") {
				t.Errorf("the log is %q (%v), want make's line in it", text, err)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, test.want)
			}
			if _, err := os.Stat(filepath.Join(dir, kmod.ModuleFile)); !os.IsNotExist(err) {
				t.Errorf("there is a module (%v)", err)
			}
		})
	}
}

// TestBuildWithBTF checks that a missing pahole is noticed early: a
// distribution's headers may need it, and the build would fail only at its end.
func TestBuildWithBTF(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "kernel"))); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string][]byte{autoConf: []byte(modular + "CONFIG_DEBUG_INFO_BTF_MODULES=y\n"), "vmlinux": nil})
	k, err := kmod.Examine(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	for _, build := range []func() error{
		func() error {
			return kmod.Build(t.Context(), k, kmod.BuildOptions{Target: native(t), Dir: t.TempDir()})
		},
		func() error {
			return kmod.BuildDKMS(t.Context(), k, kmod.BuildOptions{Target: native(t), Dir: t.TempDir()})
		},
	} {
		if err := build(); err == nil || !strings.Contains(err.Error(), "pahole is not installed") {
			t.Errorf("error %v, want that pahole is not installed", err)
		}
	}
}
