// SPDX-License-Identifier: BSD-3-Clause

// Package toolchain knows the compilers that build kernels and modules: gcc,
// and clang with the rest of LLVM.
package toolchain

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

// Toolchain is a compiler with its linker and its other tools, for one
// architecture.
type Toolchain struct {
	target target.Target
	// llvm is the suffix of the names of LLVM's programs; nil means gcc.
	llvm *string
}

// PackagedLLVM is the suffix of the newest LLVM in Debian 12. Its plain clang
// is older than [oldestClang].
const PackagedLLVM = "-19"

// oldestClang is the first major version with the control-flow integrity that
// kernels since 6.1 use (-fsanitize=kcfi).
const oldestClang = 16

// GCC returns the gcc for an architecture.
func GCC(t target.Target) Toolchain { return Toolchain{target: t} }

// LLVM returns the clang with that suffix in its programs' names.
func LLVM(t target.Target, suffix string) Toolchain { return Toolchain{target: t, llvm: &suffix} }

// Clang returns the clang for an architecture: the plain one, unless that is
// missing or too old for kernels. It does not check that the other one is
// installed.
func Clang(ctx context.Context, t target.Target) Toolchain {
	if out, err := version(ctx, "clang"); err == nil && clangMajor(out) >= oldestClang {
		return LLVM(t, "")
	}
	return LLVM(t, PackagedLLVM)
}

var reClang = regexp.MustCompile(`(?m)\bclang version (\d+)\.`)

// clangMajor reads the major version from clang's output, or returns 0.
func clangMajor(version string) int {
	m := reClang.FindStringSubmatch(version)
	if m == nil {
		return 0
	}
	major, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	return major
}

// Variables returns the make variables that select the toolchain for a kernel.
func (c Toolchain) Variables() []string {
	if c.llvm == nil {
		return []string{"ARCH=" + c.target.MakeArch, "CROSS_COMPILE=" + c.target.Cross()}
	}
	value := *c.llvm
	if value == "" {
		value = "1"
	}
	return []string{"ARCH=" + c.target.MakeArch, "LLVM=" + value}
}

// Compiler returns the name of the compiler.
func (c Toolchain) Compiler() string { return c.program("gcc", "clang") }

// Linker returns the name of the linker.
func (c Toolchain) Linker() string { return c.program("ld", "ld.lld") }

// Archiver returns the name of the program that makes libraries.
func (c Toolchain) Archiver() string { return c.program("ar", "llvm-ar") }

func (c Toolchain) program(gnu, llvm string) string {
	if c.llvm == nil {
		return c.target.Cross() + gnu
	}
	return llvm + *c.llvm
}

// Identity returns what identifies the programs with output in a kernel. A
// missing one is a [*run.NotFoundError].
func (c Toolchain) Identity(ctx context.Context) ([]string, error) {
	var versions []string
	for _, program := range []string{c.Compiler(), c.Linker()} {
		out, err := version(ctx, program)
		if err != nil {
			return nil, err
		}
		versions = append(versions, out)
	}
	late := c.Archiver()
	if c.llvm == nil {
		late = "gcc" // for programs that run during the build
	}
	if _, err := run.Look(late); err != nil {
		return nil, err
	}
	return versions, nil
}

// version returns a program's version message, in English.
func version(ctx context.Context, program string) (string, error) {
	if _, err := run.Look(program); err != nil {
		return "", err
	}
	out, err := run.Cmd{Argv: []string{program, "--version"}, Env: []string{"LC_ALL=C", "LANGUAGE="}}.Output(ctx)
	if err != nil {
		return "", fmt.Errorf("asking %s for its version: %w", program, err)
	}
	return string(out), nil
}
