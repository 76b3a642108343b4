// SPDX-License-Identifier: BSD-3-Clause

// Package guest compiles what runs inside the guest: the u-root busybox, the
// agent and the test binary. It also reads from the test binary which tests
// that declares.
package guest

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/initramfs"
)

// Module is the Go module that the guest's programs are part of.
const Module = "github.com/kheaders/kheaders"

// Tests is the package of the guest tests.
const Tests = Module + "/tests/guest"

// Builder compiles for guests.
type Builder struct {
	// Repo is the directory of our own sources, with go.mod in it.
	Repo  string
	Store cache.Store
	// Log receives the output of the Go tools.
	Log string
}

// baseVersion changes with the recipe for the base image.
const baseVersion = "2"

// Base returns the path of the u-root image for an architecture. mkuimage takes
// 15 to 30 s, so the image is cached by everything it is made from.
func (b Builder) Base(ctx context.Context, t target.Target) (string, error) {
	// go.sum stands for the sources of u-root and of its dependencies.
	sum, err := os.ReadFile(filepath.Join(b.Repo, "go.sum"))
	if err != nil {
		return "", fmt.Errorf("reading the versions of u-root: %w", err)
	}
	ours, err := sources(filepath.Join(b.Repo, "initramfs"))
	if err != nil {
		return "", fmt.Errorf("reading the guest's sources: %w", err)
	}
	tool, err := askGo(ctx, b.Repo, b.Log)
	if err != nil {
		return "", fmt.Errorf("building the u-root image: %w", err)
	}
	parts := slices.Concat([]string{baseVersion, t.GOARCH, t.GoLevel, tool.version, string(sum), initramfs.BuildTags}, ours, initramfs.Commands())
	entry, err := b.Store.Get(ctx, "initramfs", cache.KeyOf(parts...), func(ctx context.Context, dir string) ([]string, error) {
		tmp := filepath.Join(dir, "tmp")
		if err := os.Mkdir(tmp, 0o755); err != nil {
			return nil, err
		}
		// mkuimage runs here, so it must not be compiled with the
		// guest's environment. It then runs in that environment.
		mkuimage := filepath.Join(tmp, "mkuimage")
		for _, cmd := range []run.Cmd{
			{
				Argv: []string{"go", "build", "-o", mkuimage, "github.com/u-root/mkuimage/cmd/mkuimage"},
				Env:  append(tool.env, "CGO_ENABLED=0"),
			},
			{
				Argv: slices.Concat([]string{
					mkuimage, "-o", filepath.Join(dir, baseName), "-tmp-dir", tmp,
					"-initcmd", initramfs.Init, "-uinitcmd", initramfs.Agent, "-defaultsh", initramfs.Agent,
					"-go-build-tags", initramfs.BuildTags, "-skip-ldd",
				}, initramfs.Commands()),
				Env: append(tool.env, t.GoEnv()...),
			},
		} {
			cmd.Dir, cmd.Log = b.Repo, b.Log
			if err := cmd.Run(ctx); err != nil {
				return nil, fmt.Errorf("building the u-root image: %w", err)
			}
		}
		return []string{baseName}, os.RemoveAll(tmp)
	})
	if err != nil {
		return "", err
	}
	return entry.Path(baseName), nil
}

const baseName = "base.cpio"

// sources returns the paths and contents of the Go files below dir, without
// tests, in a fixed order.
func sources(dir string) ([]string, error) {
	var parts []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		parts = append(parts, name, string(text))
		return err
	})
	return parts, err
}

// Programs is the test program of one guest.
type Programs struct {
	// Tests is its path.
	Tests string
	// Declared are the names of the tests in Tests, sorted.
	Declared []string
}

// Programs compiles the guest tests of package tests into dir. The package is
// given by its import path, or relative to our sources as ./tests/….
func (b Builder) Programs(ctx context.Context, t target.Target, tests, dir string) (Programs, error) {
	if rest, ok := strings.CutPrefix(tests, "./"); ok {
		tests = path.Join(Module, rest)
	}
	dir, err := filepath.Abs(dir) // the go command runs elsewhere
	if err != nil {
		return Programs{}, err
	}
	tool, err := askGo(ctx, b.Repo, b.Log)
	if err != nil {
		return Programs{}, fmt.Errorf("compiling %s: %w", tests, err)
	}
	p := Programs{Tests: filepath.Join(dir, "guest.test")}
	err = run.Cmd{
		// Symbols must stay: the declared tests are read from them.
		Argv: []string{"go", "test", "-c", "-trimpath", "-ldflags=-w", "-o", p.Tests, tests},
		Dir:  b.Repo, Env: append(tool.env, t.GoEnv()...), Log: b.Log,
	}.Run(ctx)
	if err != nil {
		return Programs{}, fmt.Errorf("compiling %s: %w", tests, err)
	}
	f, err := os.Open(p.Tests)
	if errors.Is(err, os.ErrNotExist) {
		return Programs{}, fmt.Errorf("package %s has no test files", tests)
	}
	if err != nil {
		return Programs{}, err
	}
	p.Declared, err = Declared(f, tests)
	return p, errors.Join(err, f.Close())
}

// Declared returns the names of the top-level tests in a compiled test binary
// of the given package, sorted. It reads them from the symbol table, so the
// binary may be for any architecture.
func Declared(r io.ReaderAt, pkg string) ([]string, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("reading the test binary: %w", err)
	}
	symbols, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("reading the test binary's symbols: %w", err)
	}
	// The linker escapes dots in the last element of a path.
	parent, last := path.Split(pkg)
	pkg = parent + strings.ReplaceAll(last, ".", "%2e")
	var names []string
	for _, symbol := range symbols {
		if elf.ST_TYPE(symbol.Info) != elf.STT_FUNC {
			continue
		}
		name, ok := strings.CutPrefix(symbol.Name, pkg+".")
		if !ok {
			name, ok = strings.CutPrefix(symbol.Name, pkg+"_test.")
		}
		if ok && isTest(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// isTest applies go test's rule: TestXxx where Xxx does not begin with a
// lower-case letter. A dot belongs to a function within a test.
func isTest(name string) bool {
	rest, ok := strings.CutPrefix(name, "Test")
	if !ok || name == "TestMain" || strings.ContainsAny(rest, ".[") {
		return false
	}
	first, _ := utf8.DecodeRuneInString(rest)
	return rest == "" || !unicode.IsLower(first)
}
