// SPDX-License-Identifier: BSD-3-Clause

package mode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/headers"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/kmod"
	"github.com/kheaders/kheaders/harness/internal/stage"
	"github.com/kheaders/kheaders/module/source"
)

// builtin puts the headers into the kernel itself by patching its source. The
// kernel's own build packs them.
func builtin() Mode {
	const name = "builtin"
	return Mode{
		Name: name,
		Check: func(spec kernel.Spec, compressor string) error {
			if !spec.Configurable() {
				return hint.Usage(fmt.Errorf("%s is prebuilt, without the headers", spec), "use --mode "+module().Name+", or a kernel's source")
			}
			return checkCompressor(compressor, "a kernel's own build", name)
		},
		Patch: patch,
		Step:  "inspect",
		Carry: func(_ context.Context, in CarryInput) (stage.Carrier, error) { return carryKernel(in, name) },
	}
}

// patch returns a copy of a kernel's source that builds its headers in.
func patch(ctx context.Context, in PatchInput) (Patched, error) {
	text, err := inTree(in.Source.Dir)
	if err != nil {
		return Patched{}, hint.BuildFailed(err)
	}
	tree, err := kernel.Patch(ctx, in.Store, in.Source, text, source.Changed())
	if err != nil {
		return Patched{}, err
	}
	in.Say("patch", "%s", tree.Dir)
	mtime, err := headers.Timestamp(ctx)
	if err != nil {
		return Patched{}, err
	}
	// The archive is made during the build, so whatever shapes the archive
	// shapes the kernel too.
	key, err := headers.Key(ctx, headers.Options{Target: in.Target, Compressor: headers.DefaultCompressor})
	if err != nil {
		return Patched{}, err
	}
	return Patched{
		Source: tree,
		Config: "CONFIG_" + source.BuiltInSymbol + "=y\n",
		// The date that "kheaders archive" uses, not the kernel's.
		Variables: []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", mtime.Unix())},
		Inputs:    []string{key},
	}, nil
}

// inTree returns the patch that builds the headers into a kernel tree.
func inTree(dir string) ([]byte, error) {
	text, err := source.InTree(os.DirFS(dir), headers.XZCommand())
	if tree, ok := errors.AsType[*source.TreeError](err); ok {
		advice := "name the top directory of a kernel source tree, 4.14 or newer"
		if errors.Is(err, source.ErrPatched) {
			advice = "the tree needs no patch: enable CONFIG_" + source.BuiltInSymbol + ", or name a tree without it"
		}
		err = hint.New(fmt.Errorf("the patch does not apply to %s", filepath.Join(dir, tree.Error())), advice)
	}
	return text, err
}

// carryKernel compares our archive with the one that the kernel's build packed,
// and with the one in the kernel.
func carryKernel(in CarryInput, name string) (stage.Carrier, error) {
	own, err := kmod.Own(in.Kernel.Dir)
	if err != nil {
		return stage.Carrier{}, err
	}
	if own == "m" {
		// It may or may not be loaded, and ours leaves the file to it.
		return stage.Carrier{}, hint.New(hint.BuildFailed(errors.New("the kernel's own kheaders is a module, and the built-in one leaves the file in /sys to it: nobody can say whether the file should exist")),
			"use another --profile with --mode "+name)
	}
	path := filepath.Join(in.Kernel.Dir, source.InTreeDir, source.ArchiveName)
	made, err := cache.Digest(path)
	if err != nil {
		return stage.Carrier{}, hint.BuildFailed(fmt.Errorf("reading the archive of the kernel's build: %w", err))
	}
	if made.SHA256 != in.Archive.SHA256 {
		return stage.Carrier{}, hint.BuildFailed(fmt.Errorf("the kernel's build packed a different archive than kheaders did: %s has sha256:%s, %s has sha256:%s", path, made.SHA256, in.Archive.Path, in.Archive.SHA256))
	}
	path = filepath.Join(in.Kernel.Dir, "vmlinux")
	info, err := kmod.InspectKernel(path)
	if err == nil {
		err = info.CheckKernel(kmod.Want{Target: in.Target, SHA256: in.Archive.SHA256})
	}
	if err != nil {
		return stage.Carrier{}, hint.BuildFailed(fmt.Errorf("inspecting %s: %w", path, err))
	}
	in.Say("builtin", "vmlinux of %s, archive as on the host", in.Kernel.Release)
	return stage.Carrier{Embedded: info.SHA256, SysfsTaken: own == "y"}, nil
}
