// SPDX-License-Identifier: BSD-3-Clause

package mode

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kheaders/kheaders/harness/internal/doctor"
	"github.com/kheaders/kheaders/harness/internal/headers"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/kmod"
	"github.com/kheaders/kheaders/harness/internal/stage"
	"github.com/kheaders/kheaders/module/source"
)

// dkms is a module too, but DKMS builds it, for a prebuilt kernel. That build
// packs the archive without our help.
func dkms() Mode {
	const name = "dkms"
	return Mode{
		Name: name,
		Uses: []string{doctor.DKMS},
		Check: func(spec kernel.Spec, compressor string) error {
			if !spec.HeaderPackages() {
				return hint.Usage(fmt.Errorf("kernel %q has no header packages for DKMS to build against", spec),
					"use --mode "+name+" with a prebuilt kernel, such as --kernel debian-image:6.1")
			}
			return checkCompressor(compressor, "the build under DKMS", name)
		},
		Step: "module",
		Carry: func(ctx context.Context, in CarryInput) (stage.Carrier, error) {
			files, err := source.DKMS(headers.XZCommand())
			if err != nil {
				return stage.Carrier{}, fmt.Errorf("rendering the module: %w", err)
			}
			return carryModule(ctx, in, name, files, buildDKMS)
		},
	}
}

// buildDKMS has dkms build the module.
func buildDKMS(ctx context.Context, in CarryInput, loader kmod.Kernel, files map[string][]byte, dir string) error {
	tree := filepath.Join(dir, kmod.DKMSSource)
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	if err := writeFiles(tree, files); err != nil {
		return err
	}
	return kmod.BuildDKMS(ctx, loader, kmod.BuildOptions{Target: in.Target, Dir: dir, Log: in.Log, Jobs: in.Jobs})
}
