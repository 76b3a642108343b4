// SPDX-License-Identifier: BSD-3-Clause

// Package stage holds the stages that take a kernel from its source to a
// verdict, one file each: fetch, build, pack, program, guest, image, boot and
// judge. What comes between the archive and the image depends on the mode, and
// is in package mode.
//
// A stage is a function from one small struct to another. It knows neither the
// whole configuration, nor the report, nor any other stage.
package stage

import (
	"fmt"

	"github.com/kheaders/kheaders/harness/internal/cache"
)

// Say tells a person what a stage is doing. Subject is the stage's name.
type Say func(subject, format string, args ...any)

// progress returns a function that says finished lines about one subject.
func (s Say) progress(subject string) func(line string) {
	return func(line string) { s(subject, "%s", line) }
}

// File is a file that a stage made. The zero value means no file.
type File struct {
	Path string
	// Size is in bytes, SHA256 in hex.
	Size   int64
	SHA256 string
}

// Digest returns the file at a path with its size and digest.
func Digest(path string) (File, error) {
	d, err := cache.Digest(path)
	if err != nil {
		return File{}, fmt.Errorf("reading back what was made: %w", err)
	}
	return File{Path: path, Size: d.Size, SHA256: d.SHA256}, nil
}
