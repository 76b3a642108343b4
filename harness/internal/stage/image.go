// SPDX-License-Identifier: BSD-3-Clause

package stage

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/kheaders/kheaders/harness/internal/output"
	"github.com/kheaders/kheaders/initramfs"
)

// ImageInput is what [Image] takes.
type ImageInput struct {
	// Path is where the image goes.
	Path     string
	Programs Programs
	Contents Contents
	// Shell has the guest run a shell instead of its tests.
	Shell bool
}

// Image writes the guest's file system: u-root's image followed by our files.
func Image(in ImageInput) (File, error) {
	plan, files := in.Contents.plan()
	if in.Shell {
		plan.TestBinary = ""
	}
	text, err := json.MarshalIndent(plan, "", "\t")
	if err != nil {
		return File{}, err
	}
	files = append(files,
		initramfs.File{Path: initramfs.TestPath, Mode: 0o755, Source: in.Programs.Tests},
		initramfs.File{Path: planPath(), Mode: 0o644, Data: text},
	)
	err = output.Write(in.Path, func(out io.Writer) error { return initramfs.Write(out, in.Programs.Base, files) })
	if err != nil {
		return File{}, fmt.Errorf("writing the initramfs: %w", err)
	}
	return Digest(in.Path)
}
