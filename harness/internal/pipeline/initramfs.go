// SPDX-License-Identifier: BSD-3-Clause

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kheaders/kheaders/harness/internal/guest"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kmod"
	"github.com/kheaders/kheaders/harness/internal/stage"
	"github.com/kheaders/kheaders/harness/target"
)

// WriteInitramfs writes the guest's file system around a module. The guest
// tests expect the archive that the module itself describes.
func WriteInitramfs(ctx context.Context, b guest.Builder, t target.Target, module, output string) (err error) {
	info, err := kmod.Inspect(module)
	if err != nil {
		return hint.Usage(fmt.Errorf("inspecting %s: %w", module, err), "name a kheaders.ko that kheaders test or make has built")
	}
	if err := info.Check(kmod.Want{Target: t, Release: info.Release(), SHA256: info.SHA256}); err != nil {
		return hint.Usage(fmt.Errorf("inspecting %s: %w", module, err), "name a module for --arch "+t.Name)
	}
	dir, err := os.MkdirTemp(filepath.Dir(output), ".kheaders-programs-*")
	if err != nil {
		return hint.Usage(fmt.Errorf("writing %s: %w", output, err), "choose another --output FILE")
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	programs, err := stage.Guest(ctx, stage.GuestInput{Builder: b, Target: t, Tests: guest.Tests, Dir: dir})
	if err != nil {
		return Advise(err, t, CachePlace(b.Store.Dir), Place{filepath.Dir(output), "choose another --output FILE"})
	}
	_, err = stage.Image(stage.ImageInput{
		Path: output, Programs: programs,
		Contents: stage.Contents{
			Target: t, Release: info.Release(), Archive: stage.File{SHA256: info.SHA256, Size: info.Size},
			Carrier: stage.Carrier{Module: stage.File{Path: module}},
			Limits:  DefaultLimits.Scale(t.Slowdown),
		},
	})
	return err
}
