// SPDX-License-Identifier: BSD-3-Clause

package mode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/kheaders/kheaders/harness/internal/headers"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kmod"
	"github.com/kheaders/kheaders/harness/internal/output"
	"github.com/kheaders/kheaders/harness/internal/stage"
	"github.com/kheaders/kheaders/module/source"
)

// This file writes what each mode builds from, for people who build it
// themselves.

// WriteModule writes a directory from which make builds kheaders.ko around an
// archive. The directory must be new or empty; it appears whole or not at all.
// If kernelBuild names the directory of a kernel's build, WriteModule rejects
// an archive of another kernel or another configuration, and a kernel that
// could not load the module.
func WriteModule(ctx context.Context, archive, kernelBuild, dir string) error {
	info, err := headers.Inspect(ctx, archive)
	if err != nil {
		return err
	}
	if kernelBuild != "" {
		k, err := kmod.Examine(kernelBuild)
		if err != nil {
			return err
		}
		if info.Release != k.Release {
			return hint.Usage(fmt.Errorf("%s has the headers of %q, and the kernel in %s is %q", archive, info.Release, kernelBuild, k.Release),
				"pack that kernel's own: kheaders archive --build "+kernelBuild)
		}
		if err := headers.CheckConfig(ctx, archive, kernelBuild); err != nil {
			return err
		}
	}
	files, err := render(stage.File{Path: archive, SHA256: info.SHA256, Size: info.Size}, info.Release, info.SrcArch)
	if err != nil {
		return hint.Usage(fmt.Errorf("%s: %w", archive, err), "no kernel's build makes such headers: pack them again, with kheaders archive")
	}
	return output.Directory(dir, func(partial string) error { return fill(partial, files, archive) })
}

// WriteDKMS writes a directory from which dkms builds the module for any
// kernel. The directory must be new or empty; it appears whole or not at all.
func WriteDKMS(dir string) error {
	files, err := source.DKMS(headers.XZCommand())
	if err != nil {
		return err
	}
	return output.Directory(dir, func(partial string) error { return writeFiles(partial, files) })
}

// WritePatch writes the patch that builds the headers into the kernel tree in a
// directory. The file appears whole or not at all.
func WritePatch(dir, file string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New("it is not a directory")
	}
	if err != nil {
		return hint.Usage(fmt.Errorf("the kernel tree %s: %w", dir, err), "name the top directory of a kernel source tree")
	}
	patch, err := inTree(dir)
	if err != nil {
		return hint.Usage(err, hint.Of(err))
	}
	err = output.Write(file, func(out io.Writer) error {
		_, err := out.Write(patch)
		return err
	})
	if err != nil {
		return fmt.Errorf("writing the patch: %w", err)
	}
	return nil
}
