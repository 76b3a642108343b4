// SPDX-License-Identifier: BSD-3-Clause

package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/kheaders/kheaders/harness/cache"
	"github.com/kheaders/kheaders/harness/headers"
	"github.com/kheaders/kheaders/harness/hint"
	"github.com/kheaders/kheaders/harness/kernel"
	"github.com/kheaders/kheaders/harness/kmod"
	"github.com/kheaders/kheaders/module/source"
)

// This file holds what is different when the headers are built into the kernel.

// checkBuiltin refuses what cannot have its headers built in.
func (c Config) checkBuiltin() error {
	for _, cell := range c.Cells() {
		if cell.Mode != ModeBuiltin {
			continue
		}
		if cell.Spec.Prebuilt() {
			return hint.Usage(fmt.Errorf("%s comes built, without the headers", cell.Spec), "use --mode "+ModeModule+", or a kernel's source")
		}
		if c.Compressor != "" && c.Compressor != headers.DefaultCompressor {
			return hint.Usage(fmt.Errorf("a kernel's own build compresses with %s, not %s", headers.DefaultCompressor, c.Compressor), "leave --compressor out with --mode "+ModeBuiltin)
		}
	}
	return nil
}

// builtinPatch returns the patch that builds the headers into a kernel tree.
func builtinPatch(dir string) ([]byte, error) {
	patch, err := source.InTree(os.DirFS(dir), headers.XZCommand())
	if tree, ok := errors.AsType[*source.TreeError](err); ok {
		advice := "name the top directory of a kernel source tree, 4.14 or newer"
		if errors.Is(err, source.ErrPatched) {
			advice = "the tree needs no patch: enable CONFIG_" + source.BuiltInSymbol + ", or name a tree without it"
		}
		err = hint.New(fmt.Errorf("the patch does not apply to %s", filepath.Join(dir, tree.Error())), advice)
	}
	return patch, err
}

// patchSource returns a copy of the kernel's source that has the headers built
// in.
func (w *work) patchSource(ctx context.Context, tree kernel.Source) (kernel.Source, error) {
	defer w.stage("patch", time.Now())
	patch, err := builtinPatch(tree.Dir)
	if err != nil {
		return kernel.Source{}, &buildError{err}
	}
	patched, err := kernel.Patch(ctx, w.store, tree, patch, source.Changed())
	if err != nil {
		return kernel.Source{}, err
	}
	w.say("patch", "%s", patched.Dir)
	return patched, nil
}

// buildWithHeaders adds to a kernel's build what builds the headers in.
func (w *work) buildWithHeaders(ctx context.Context, o *kernel.BuildOptions) error {
	mtime, err := headers.Timestamp(os.Getenv)
	if err != nil {
		return err
	}
	o.Config = "CONFIG_" + source.BuiltInSymbol + "=y\n"
	// As "kheaders archive" dates it, and not as the kernel.
	o.Variables = []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", mtime.Unix())}
	// The archive is made during the build, so what decides about it decides
	// about the kernel.
	key, err := headers.Key(ctx, headers.Options{Target: o.Target, Compressor: w.Compressor})
	o.Inputs = []string{key}
	return err
}

// ownBuiltin tells whether the kernel's own kheaders is built in as well.
func (w *work) ownBuiltin(built kernel.Kernel) (bool, error) {
	own, err := kmod.Own(built.Dir)
	if err != nil {
		return false, err
	}
	if own == "m" {
		// It may be loaded, or not: ours leaves it the file.
		return false, hint.New(&buildError{errors.New("the kernel's own kheaders is a module, to which the one built in leaves the file in /sys: there is no saying what should be there")},
			"use another --profile with --mode "+ModeBuiltin)
	}
	return own == "y", nil
}

// checkKernel holds the archives that the kernel's build has made and put into
// the kernel against our own. It does so before every boot.
func (w *work) checkKernel(built kernel.Kernel, packed archiveFile) error {
	defer w.stage("inspect", time.Now())
	path := filepath.Join(built.Dir, source.InTreeDir, source.ArchiveName)
	made, err := cache.Digest(path)
	if err != nil {
		return &buildError{fmt.Errorf("reading the archive of the kernel's build: %w", err)}
	}
	if made.SHA256 != packed.SHA256 {
		return &buildError{fmt.Errorf("the kernel's build packed another archive than kheaders did: %s has sha256:%s, %s has sha256:%s", path, made.SHA256, packed.Path, packed.SHA256)}
	}
	path = filepath.Join(built.Dir, "vmlinux")
	info, err := kmod.InspectKernel(path)
	if err == nil {
		err = info.CheckKernel(kmod.Want{Target: w.cell.Target, SHA256: packed.SHA256})
	}
	if err != nil {
		return &buildError{fmt.Errorf("inspecting %s: %w", path, err)}
	}
	w.say("builtin", "vmlinux of %s, archive as on the host", built.Release)
	w.out.Digests.Kernel = info.SHA256
	return nil
}

// WritePatch writes the patch that builds the headers into the kernel tree in a
// directory. The output appears whole or not at all.
func WritePatch(dir, output string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New("it is not a directory")
	}
	if err != nil {
		return hint.Usage(fmt.Errorf("the kernel tree %s: %w", dir, err), "name the top directory of a kernel source tree")
	}
	patch, err := builtinPatch(dir)
	if err != nil {
		return hint.Usage(err, hint.Of(err))
	}
	err = writeFile(output, func(out io.Writer) error {
		_, err := out.Write(patch)
		return err
	})
	if err != nil {
		return fmt.Errorf("writing the patch: %w", err)
	}
	return nil
}
