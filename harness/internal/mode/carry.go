// SPDX-License-Identifier: BSD-3-Clause

package mode

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kmod"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/internal/stage"
)

// carryModule builds kheaders.ko from its source files, or takes it from the
// cache, and inspects it either way: nothing boots uninspected. who names the
// mode: modes do not share modules.
func carryModule(ctx context.Context, in CarryInput, who string, files map[string][]byte,
	build func(ctx context.Context, in CarryInput, loader kmod.Kernel, files map[string][]byte, dir string) error,
) (stage.Carrier, error) {
	loader, err := kmod.Examine(in.Kernel.Dir)
	if err != nil {
		return stage.Carrier{}, hint.BuildFailed(fmt.Errorf("building the module: %w", err))
	}
	certificate, err := loader.Certificate()
	if err != nil {
		return stage.Carrier{}, err
	}
	parts := []string{in.Kernel.ModulesKey, in.Archive.SHA256, certificate, who}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		parts = append(parts, name, string(files[name]))
	}
	entry, err := in.Store.Get(ctx, "module", cache.KeyOf(parts...), func(ctx context.Context, dir string) ([]string, error) {
		in.Say("module", "building %s", kmod.ModuleFile)
		return loader.Files(), build(ctx, in, loader, files, dir)
	})
	if _, missing := errors.AsType[*run.NotFoundError](err); err != nil && !missing {
		return stage.Carrier{}, hint.BuildFailed(fmt.Errorf("building the module: %w", err))
	}
	if err != nil {
		return stage.Carrier{}, err
	}
	return inspect(in, loader, entry.Dir)
}

// inspect looks into the module in a directory, and at the files next to it.
func inspect(in CarryInput, loader kmod.Kernel, dir string) (stage.Carrier, error) {
	path := filepath.Join(dir, kmod.ModuleFile)
	info, err := kmod.Inspect(path)
	if err == nil {
		err = info.Check(kmod.Want{Target: in.Target, Release: in.Kernel.Release, SHA256: in.Archive.SHA256, Signed: loader.Signed})
	}
	if err != nil {
		return stage.Carrier{}, hint.BuildFailed(fmt.Errorf("inspecting %s: %w", path, err))
	}
	in.Say("module", "%s for %s, archive as on the host", kmod.ModuleFile, info.Release())
	file, err := stage.Digest(path)
	if err != nil {
		return stage.Carrier{}, err
	}
	carrier := stage.Carrier{
		Module: file, Embedded: info.SHA256, Dir: dir,
		OwnModule: loader.OwnModule, SysfsTaken: loader.OwnBuiltin,
	}
	if loader.Signed {
		carrier.Unsigned = filepath.Join(dir, kmod.UnsignedFile)
	}
	if name := loader.CompressedFile(); name != "" {
		carrier.Compressed = filepath.Join(dir, name)
	}
	return carrier, nil
}
