// SPDX-License-Identifier: BSD-3-Clause

package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kheaders/kheaders/harness/headers"
	"github.com/kheaders/kheaders/harness/hint"
	"github.com/kheaders/kheaders/harness/kmod"
)

// This file holds what is different when DKMS builds the module.

// checkDKMS refuses kernels for which DKMS cannot build the module.
func (c Config) checkDKMS() error {
	for _, cell := range c.Cells() {
		if cell.Mode != ModeDKMS {
			continue
		}
		if !cell.Spec.Prebuilt() {
			return hint.Usage(fmt.Errorf("kernel %q has no header packages for DKMS to build against", cell.Spec),
				"use --mode "+ModeDKMS+" with a kernel that comes built, such as --kernel debian-image:6.1")
		}
		if c.Compressor != "" && c.Compressor != headers.DefaultCompressor {
			return hint.Usage(fmt.Errorf("the build under DKMS compresses with %s, not %s", headers.DefaultCompressor, c.Compressor), "leave --compressor out with --mode "+ModeDKMS)
		}
	}
	return nil
}

// buildDKMS has dkms build the module. The archive in it is packed without us.
func (w *work) buildDKMS(ctx context.Context, loader kmod.Kernel, files map[string][]byte, o kmod.BuildOptions) error {
	tree := filepath.Join(o.Dir, kmod.DKMSSource)
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	if err := writeFiles(tree, files); err != nil {
		return err
	}
	return kmod.BuildDKMS(ctx, loader, o)
}
