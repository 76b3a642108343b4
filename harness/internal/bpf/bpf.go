// SPDX-License-Identifier: BSD-3-Clause

// Package bpf compiles a BPF program against the headers in an archive, as bcc
// and its like do where the program is to run: with clang, for the kernel's own
// architecture as far as the headers are concerned, and for BPF after that.
package bpf

import (
	"context"
	_ "embed" // for the program
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/headers"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

// ObjectName is the name of the compiled program. What it answers to which
// question is in its source; the guest test TestHeadersInBPF asks.
const ObjectName = "task.bpf.o"

// Compiler is the program that compiles. Every clang since 11 will do.
const Compiler = "clang"

// Needed are the options of a kernel in which the program can run. It is run as
// for a tracepoint, which kernels can do without one since 5.10: that part of them
// is in net/bpf.
var Needed = []string{"CONFIG_BPF_SYSCALL", "CONFIG_BPF_EVENTS", "CONFIG_NET"}

//go:embed program/task.bpf.c
var program []byte

// Key returns what decides about the program that [Compile] makes, besides the
// archive. A missing clang is a [*run.NotFoundError].
func Key(ctx context.Context, t target.Target) (string, error) {
	version, err := run.Cmd{Argv: []string{Compiler, "--version"}}.Output(ctx)
	if err != nil {
		return "", err
	}
	key := string(version) + string(program)
	for _, argv := range commands(t) {
		key += "\n" + run.Quote(argv)
	}
	return key, nil
}

// Compile compiles the program against the headers in an archive, as ObjectName
// in dir, which is there and which nobody else uses. The compiler's output is
// appended to log. A failure of it is a [*run.Error]: the headers are not fit
// for use.
func Compile(ctx context.Context, archive string, t target.Target, dir, log string) error {
	tree := filepath.Join(dir, "headers")
	if _, err := headers.Extract(ctx, archive, tree); err != nil {
		return fmt.Errorf("unpacking the headers: %w", err)
	}
	for _, argv := range commands(t) {
		cmd := run.Cmd{Argv: argv, Dir: tree, Stdin: strings.NewReader(string(program)), Log: log}
		if err := cmd.Run(ctx); err != nil {
			return fmt.Errorf("compiling a BPF program against the headers: %w", err)
		}
	}
	if err := os.RemoveAll(tree); err != nil {
		return fmt.Errorf("removing the headers: %w", err)
	}
	return nil
}

// commands returns what compiles, in the headers' directory. The headers' inline
// assembler is not BPF's, so they are read for the target; what is left of them
// by then is BPF's as well.
func commands(t target.Target) [][]string {
	const ir, object = "../task.bc", "../" + ObjectName
	arch := "arch/" + t.SrcArch + "/include"
	read := []string{
		Compiler, "-target", t.Triplet(), "-O2", "-emit-llvm", "-c", "-o", ir,
		// Kernels since 6.19 are written for -fms-extensions.
		"-nostdlibinc", "-fms-extensions", "-Werror=implicit-function-declaration", "-w",
		// What the back end for BPF could not undo.
		"-fno-stack-protector", "-fno-vectorize", "-fno-slp-vectorize", "-fno-asynchronous-unwind-tables",
		"-D__KERNEL__", "-D__BPF_TRACING__",
	}
	// In the order of LINUXINCLUDE in the kernel's Makefile.
	for _, dir := range []string{arch, arch + "/generated", "include", arch + "/uapi", arch + "/generated/uapi", "include/uapi", "include/generated/uapi"} {
		read = append(read, "-I"+dir)
	}
	for _, file := range []string{"include/linux/kconfig.h", "include/linux/compiler_types.h"} {
		read = append(read, "-include", file)
	}
	return [][]string{
		append(read, "-x", "c", "-"),
		{Compiler, "-target", t.BPF(), "-O2", "-w", "-c", "-o", object, "-x", "ir", ir},
	}
}
