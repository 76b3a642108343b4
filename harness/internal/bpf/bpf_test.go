// SPDX-License-Identifier: BSD-3-Clause

package bpf

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/headers"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

// packed makes an archive with as few headers as possible.
func packed(t *testing.T) string {
	t.Helper()
	tree := t.TempDir()
	for name, text := range map[string]string{
		"Kbuild":                         "",
		"Makefile":                       "VERSION = 6\nPATCHLEVEL = 12\n",
		"include/linux/sched.h":          "struct task_struct;\n",
		"include/linux/kconfig.h":        "",
		"include/generated/autoconf.h":   "#define CONFIG_64BIT 1\n",
		"include/generated/utsrelease.h": "#define UTS_RELEASE \"6.12.0\"\n",
		"include/config/auto.conf":       "CONFIG_64BIT=y\n",
		"arch/" + target.All()[0].SrcArch + "/include/asm/processor.h": "",
	} {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	output := filepath.Join(t.TempDir(), "kheaders.tar.xz")
	_, err := headers.Pack(t.Context(), headers.Options{Source: tree, Target: target.All()[0], Output: output, Compressor: "go"})
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// compiler puts a shell script in place of clang, first in PATH.
func compiler(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, Compiler), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestCompile(t *testing.T) {
	archive := packed(t)
	arch := target.All()[0]

	// The stand-in for the compiler sees the headers and the program, and
	// notes how it was called.
	notes := filepath.Join(t.TempDir(), "notes")
	t.Setenv("CPATH", "/usr/include") // clang reads that in spite of -nostdlibinc
	compiler(t, `echo "$CPATH$@" >> `+notes+`
case "$*" in
*-emit-llvm*) cat include/linux/sched.h - > ../task.bc ;;
*) cp ../task.bc ../task.bpf.o ;;
esac`)
	dir := t.TempDir()
	if err := Compile(t.Context(), archive, arch, dir, filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	object, err := os.ReadFile(filepath.Join(dir, ObjectName))
	if err != nil {
		t.Fatal(err)
	}
	if want := "struct task_struct;\n" + string(program); string(object) != want {
		t.Errorf("the object is\n%s\nwant the header and the program", object)
	}
	if _, err := os.Stat(filepath.Join(dir, "headers")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the headers are left: %v", err)
	}
	text, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	inArch := "arch/" + arch.SrcArch + "/include"
	said := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(said) != 2 || !strings.HasPrefix(said[0], "-target ") || !strings.HasPrefix(said[1], "-target ") ||
		!strings.Contains(said[0], "-target "+arch.Triplet()+" ") || !strings.Contains(said[0], " -nostdlibinc ") ||
		!strings.Contains(said[0], " -I"+inArch+" -I"+inArch+"/generated -Iinclude -I"+inArch+"/uapi ") ||
		!strings.Contains(said[1], "-target "+arch.BPF()+" ") {
		t.Errorf("the compiler is called so:\n%s", text)
	}

	// Headers that do not compile are not our mistake, and the error shows
	// that.
	compiler(t, "echo 'include/linux/sched.h:1:1: error: no' >&2; exit 1")
	log := filepath.Join(t.TempDir(), "log")
	err = Compile(t.Context(), archive, arch, t.TempDir(), log)
	if failed, ok := errors.AsType[*run.Error](err); !ok || !strings.Contains(err.Error(), "compiling a BPF program against the headers") || len(failed.Tail) != 1 {
		t.Errorf("the error is %v", err)
	}
	if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), "error: no") {
		t.Errorf("the log is %q (%v)", text, err)
	}
}

func TestKey(t *testing.T) {
	keys := map[string]bool{}
	for _, version := range []string{"clang version 14.0.6", "clang version 19.1.7"} {
		compiler(t, "echo '"+version+"'")
		for _, arch := range target.All() {
			key, err := Key(t.Context(), arch)
			if err != nil {
				t.Fatal(err)
			}
			keys[key] = true
		}
	}
	if len(keys) != 2*len(target.All()) {
		t.Errorf("two compilers have %d keys", len(keys))
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Key(t.Context(), target.All()[0]); err == nil {
		t.Error("without clang there is a key")
	} else if missing, ok := errors.AsType[*run.NotFoundError](err); !ok || missing.Program != Compiler {
		t.Errorf("without clang the error is %v", err)
	}
}
