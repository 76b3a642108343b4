// SPDX-License-Identifier: BSD-3-Clause

// Package kmod builds the kernel module from the directory that module/source
// describes, and looks into the result before anything is booted with it.
package kmod

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kheaders/kheaders/harness/hint"
	"github.com/kheaders/kheaders/harness/run"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/module/source"
)

// BuildOptions say what to build, and against what.
type BuildOptions struct {
	// KernelBuild is the object directory of a kernel whose modules have
	// been built, or a distribution's directory of headers.
	KernelBuild string
	// Target is that kernel's architecture.
	Target target.Target
	// Dir holds the module's source and the archive. The build writes there:
	// its output, and Kbuild's own files.
	Dir string
	// Log is a file to which the build's output is appended; empty: none.
	Log string
	// Jobs is how many compilers may run at once; less than one means one.
	Jobs int
}

// environment keeps the build from depending on who runs it, when and where.
var environment = []string{
	"LC_ALL=C",
	"KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970",
	"KBUILD_BUILD_USER=kheaders",
	"KBUILD_BUILD_HOST=kheaders",
	"KBUILD_BUILD_VERSION=1",
	// We may run below a make with flags and a job server of its own.
	"MAKEFLAGS=", "MFLAGS=", "GNUMAKEFLAGS=", "MAKEFILES=", "MAKELEVEL=",
	// These would take the build elsewhere, or add to it.
	"KBUILD_OUTPUT=", "KBUILD_EXTRA_SYMBOLS=", "KCPPFLAGS=",
}

// Build builds the module and returns the path of kheaders.ko, in Dir. The same
// source, archive, kernel and compiler give the same bytes, whatever Dir is. A
// failure of make is a [*run.Error]; a kernel that cannot have the module is
// refused before anything is built.
func Build(ctx context.Context, o BuildOptions) (string, error) {
	ko, err := build(ctx, o)
	if err != nil {
		return "", fmt.Errorf("building %s.ko: %w", source.ModuleName, err)
	}
	return ko, nil
}

func build(ctx context.Context, o BuildOptions) (string, error) {
	kernel, err := filepath.Abs(o.KernelBuild)
	if err != nil {
		return "", err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return "", err
	}
	if err := checkKernel(kernel); err != nil {
		return "", err
	}
	// Kbuild puts the path into make rules, shell commands and -Wa, lists.
	if i := strings.IndexFunc(dir, breaksKbuild); i >= 0 {
		return "", hint.Usage(fmt.Errorf("the kernel's makefiles cannot work in %q, for its %q", dir, dir[i:i+1]), "use a directory with a plain name")
	}

	// Debug information would name the directory otherwise. The module's own
	// Kbuild cannot see to it: kheaders.mod.c is compiled without it.
	relocate := "-fdebug-prefix-map=" + dir + "=."
	err = run.Cmd{
		Argv: []string{
			"make", "-C", kernel, "M=" + dir,
			"ARCH=" + o.Target.Name, "CROSS_COMPILE=" + o.Target.Cross(),
			"KCFLAGS=" + relocate, "KAFLAGS=" + relocate,
			"-j" + strconv.Itoa(max(1, o.Jobs)), "modules",
		},
		Env: environment,
		Log: o.Log,
	}.Run(ctx)
	if err != nil {
		return "", err
	}
	ko := filepath.Join(dir, source.ModuleName+".ko")
	if _, err := os.Stat(ko); err != nil {
		return "", fmt.Errorf("make succeeded without making it: %w", err)
	}
	return ko, nil
}

func breaksKbuild(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune(`"#$%&'()*,:;<=>?[\]^`+"`{|}", r)
}

// checkKernel refuses a directory against which the module cannot be built.
func checkKernel(dir string) error {
	needed := []struct{ file, hint string }{
		{"Makefile", "give the directory in which the kernel was built"},
		{"include/config/auto.conf", "run make modules_prepare in it"},
		{"Module.symvers", "run make modules in it"},
	}
	for _, n := range needed {
		if _, err := os.Stat(filepath.Join(dir, n.file)); errors.Is(err, fs.ErrNotExist) {
			return hint.Usage(fmt.Errorf("the kernel build %s has no %s", dir, n.file), n.hint)
		} else if err != nil {
			return fmt.Errorf("looking at the kernel build: %w", err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "include/config/auto.conf"))
	if err != nil {
		return fmt.Errorf("reading the kernel's configuration: %w", err)
	}
	set := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		set[strings.TrimSpace(line)] = true
	}
	for _, option := range []string{"CONFIG_MODULES", "CONFIG_PROC_FS"} {
		if !set[option+"=y"] {
			return hint.Usage(fmt.Errorf("the kernel in %s is built without %s", dir, option), "set "+option+"=y and build the kernel again")
		}
	}
	return nil
}
