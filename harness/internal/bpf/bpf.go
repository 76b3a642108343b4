// SPDX-License-Identifier: BSD-3-Clause

// Package bpf compiles a BPF program against the headers in an archive, the way
// bcc and similar tools do where the program is to run. It uses clang, which
// reads the headers for the kernel's own architecture and then generates code
// for BPF.
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

// ObjectName is the name of the compiled program. Its source has the questions
// that it answers, and the guest test TestHeadersInBPF asks them.
const ObjectName = "task.bpf.o"

// Compiler is the program that compiles. Any clang since 11 will do.
const Compiler = "clang"

// Needed are the options of a kernel that can run the program. The program runs
// as if from a tracepoint, but since 5.10 kernels can run it without one: the
// code for that is in net/bpf.
var Needed = []string{"CONFIG_BPF_SYSCALL", "CONFIG_BPF_EVENTS", "CONFIG_NET"}

//go:embed program/task.bpf.c
var program []byte

// Key returns what the program from [Compile] depends on in addition to the
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
// in dir, which must exist and which nobody else may use. It appends the
// compiler's output to log. If the compiler fails, the error is a [*run.Error]:
// the headers are unusable.
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

// commands returns the commands that compile, to be run in the headers'
// directory. The headers contain inline assembler that BPF does not have, so
// clang reads them for the target; the intermediate code that remains is fit
// for BPF too.
func commands(t target.Target) [][]string {
	const ir, object = "../task.bc", "../" + ObjectName
	arch := "arch/" + t.SrcArch + "/include"
	read := []string{
		Compiler, "-target", t.Triplet(), "-O2", "-emit-llvm", "-c", "-o", ir,
		// Kernels since 6.19 are written for -fms-extensions.
		"-nostdlibinc", "-fms-extensions", "-Werror=implicit-function-declaration", "-w",
		// The BPF back end could not undo these.
		"-fno-stack-protector", "-fno-vectorize", "-fno-slp-vectorize", "-fno-asynchronous-unwind-tables",
		"-D__KERNEL__", "-D__BPF_TRACING__",
	}
	// In the same order as LINUXINCLUDE in the kernel's Makefile.
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
