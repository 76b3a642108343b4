// SPDX-License-Identifier: BSD-3-Clause

package toolchain

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

// programs replaces PATH with fake programs, given by name and output.
func programs(t *testing.T, says map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range says {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho '"+text+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

func TestClang(t *testing.T) {
	for _, tt := range []struct {
		name string
		says map[string]string
		want string
	}{
		{"none", nil, "clang-19"},
		{"Debian 12's", map[string]string{"clang": "Debian clang version 14.0.6"}, "clang-19"},
		{"the one before", map[string]string{"clang": "clang version 15.0.7"}, "clang-19"},
		{"the oldest", map[string]string{"clang": "clang version 16.0.0 (Fedora)"}, "clang"},
		{"Android's", map[string]string{"clang": "Android (11368308, +pgo) clang version 18.0.0 (https://…)"}, "clang"},
		{"three digits", map[string]string{"clang": "clang version 100.1.0"}, "clang"},
		{"another program", map[string]string{"clang": "clang 20"}, "clang-19"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			programs(t, tt.says)
			if got := Clang(t.Context(), target.All()[0]).Compiler(); got != tt.want {
				t.Errorf("the compiler is %s, want %s", got, tt.want)
			}
		})
	}
}

func TestVariables(t *testing.T) {
	foreign := target.Target{MakeArch: "vax", GOARCH: "vax", CrossPrefix: "vax-linux-gnu-"}
	for _, tt := range []struct {
		tools                      Toolchain
		variables                  []string
		compiler, linker, archiver string
	}{
		{GCC(foreign), []string{"ARCH=vax", "CROSS_COMPILE=vax-linux-gnu-"}, "vax-linux-gnu-gcc", "vax-linux-gnu-ld", "vax-linux-gnu-ar"},
		{LLVM(foreign, ""), []string{"ARCH=vax", "LLVM=1"}, "clang", "ld.lld", "llvm-ar"},
		{LLVM(foreign, "-19"), []string{"ARCH=vax", "LLVM=-19"}, "clang-19", "ld.lld-19", "llvm-ar-19"},
	} {
		if got := tt.tools.Variables(); !slices.Equal(got, tt.variables) {
			t.Errorf("the variables are %q, want %q", got, tt.variables)
		}
		got := []string{tt.tools.Compiler(), tt.tools.Linker(), tt.tools.Archiver()}
		if want := []string{tt.compiler, tt.linker, tt.archiver}; !slices.Equal(got, want) {
			t.Errorf("the programs are %q, want %q", got, want)
		}
	}
}

func TestIdentity(t *testing.T) {
	foreign := target.Target{MakeArch: "vax", GOARCH: "vax", CrossPrefix: "x-"}
	for _, tt := range []struct {
		tools Toolchain
		want  []string
		all   []string
	}{
		{GCC(foreign), []string{"x-gcc 1\n", "x-ld 1\n"}, []string{"x-gcc", "x-ld", "gcc"}},
		{LLVM(foreign, "-19"), []string{"clang-19 1\n", "ld.lld-19 1\n"}, []string{"clang-19", "ld.lld-19", "llvm-ar-19"}},
	} {
		says := map[string]string{}
		for _, name := range tt.all {
			says[name] = name + " 1"
		}
		programs(t, says)
		if got, err := tt.tools.Identity(t.Context()); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("the identity is %q (%v), want %q", got, err, tt.want)
		}
		for _, name := range tt.all {
			delete(says, name)
			programs(t, says)
			says[name] = name + " 1"
			_, err := tt.tools.Identity(t.Context())
			if missing, ok := errors.AsType[*run.NotFoundError](err); !ok || missing.Program != name {
				t.Errorf("without %s the error is %v", name, err)
			}
		}
	}
}
