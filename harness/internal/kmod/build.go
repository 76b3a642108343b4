// SPDX-License-Identifier: BSD-3-Clause

// Package kmod builds the kernel module from the directory that module/source
// describes, and inspects the result before anything boots with it.
package kmod

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/internal/toolchain"
	"github.com/kheaders/kheaders/harness/target"
)

// BuildOptions say what to build, and against what.
type BuildOptions struct {
	// Target is the kernel's architecture.
	Target target.Target
	// Dir contains the module's source and the archive. The build writes
	// there: its output, and Kbuild's own files.
	Dir string
	// Log is a file to which the build's output is appended; empty means
	// none.
	Log string
	// Jobs is how many compilers may run at once; less than one means one.
	Jobs int
}

// environment makes the build independent of who runs it, when and where.
var environment = []string{
	"LC_ALL=C",
	"KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970",
	"KBUILD_BUILD_USER=kheaders",
	"KBUILD_BUILD_HOST=kheaders",
	"KBUILD_BUILD_VERSION=1",
}

// Build builds the module in Dir, for the kernel that k describes, in all forms
// that [Kernel.Files] lists. The same source, archive, kernel and compiler give
// the same bytes, whatever Dir is. A failed make is a [*run.Error]; a build
// that is known to fail is refused before it starts.
func Build(ctx context.Context, k Kernel, o BuildOptions) error {
	if err := build(ctx, k, o); err != nil {
		return fmt.Errorf("building %s: %w", ModuleFile, err)
	}
	return nil
}

func build(ctx context.Context, k Kernel, o BuildOptions) error {
	if err := k.tools(); err != nil {
		return err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	// Kbuild puts the path into make rules, shell commands and -Wa, lists.
	if i := strings.IndexFunc(dir, breaksKbuild); i >= 0 {
		return hint.Usage(fmt.Errorf("the kernel's makefiles cannot work in %q because of the %q", dir, dir[i:i+1]), "use a directory with a plain name")
	}

	// Without this, debug information would name the directory. The
	// module's own Kbuild cannot do it, because kheaders.mod.c is compiled
	// without it.
	relocate := "-fdebug-prefix-map=" + dir + "=."
	tools := toolchain.GCC(o.Target)
	if k.clang {
		tools = toolchain.Clang(ctx, o.Target)
	}
	err = run.Cmd{
		Argv: slices.Concat([]string{"make", "-C", k.Dir, "M=" + dir}, tools.Variables(), []string{
			"KCFLAGS=" + relocate, "KAFLAGS=" + relocate,
			"-j" + strconv.Itoa(max(1, o.Jobs)), "modules",
		}),
		Env: environment,
		Log: o.Log,
	}.Run(ctx)
	if err != nil {
		return err
	}
	ko := filepath.Join(dir, ModuleFile)
	if _, err := os.Stat(ko); err != nil {
		return fmt.Errorf("make succeeded without making it: %w", err)
	}
	if k.Signed {
		if err := k.sign(ctx, ko, filepath.Join(dir, UnsignedFile), o.Log); err != nil {
			return fmt.Errorf("signing it: %w", err)
		}
	}
	if k.Compression != "" {
		if err := k.compress(ctx, ko, filepath.Join(dir, k.CompressedFile())); err != nil {
			return fmt.Errorf("compressing it: %w", err)
		}
	}
	return nil
}

// sign moves the module aside and puts a signed one in its place, using the
// kernel's own program.
func (k Kernel) sign(ctx context.Context, ko, unsigned, log string) error {
	if err := os.Rename(ko, unsigned); err != nil {
		return err
	}
	return run.Cmd{
		Argv: []string{filepath.Join(k.Dir, signProgram), k.hash, k.key, filepath.Join(k.Dir, certificate), unsigned, ko},
		Env:  environment,
		Log:  log,
	}.Run(ctx)
}

// compress writes the module in the form that the kernel decompresses.
func (k Kernel) compress(ctx context.Context, ko, output string) (err error) {
	in, err := os.Open(ko)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.Create(output)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	switch k.Compression {
	case ".xz":
		// The kernel's decoder supports no other check.
		return run.Cmd{
			Argv:  []string{"xz", "--compress", "--stdout", "--quiet", "--format=xz", "--check=crc32", "--threads=1", "--lzma2=dict=1MiB"},
			Stdin: in, Stdout: out,
		}.Run(ctx)
	case ".zst":
		z, err := zstd.NewWriter(out, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return err
		}
		if _, err := io.Copy(z, in); err != nil {
			return errors.Join(err, z.Close())
		}
		return z.Close()
	case ".gz":
		z := gzip.NewWriter(out)
		if _, err := io.Copy(z, in); err != nil {
			return err
		}
		return z.Close()
	}
	return fmt.Errorf("no way to make %s", output)
}

func breaksKbuild(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune(`"#$%&'()*,:;<=>?[\]^`+"`{|}", r)
}
