// SPDX-License-Identifier: BSD-3-Clause

// Package mode holds the ways in which a kernel can have its headers, one file
// each. Everything that sets one apart from the others is in its [Mode].
package mode

import (
	"context"
	"fmt"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/headers"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/stage"
	"github.com/kheaders/kheaders/harness/target"
)

// Mode is one way for a kernel to have its headers.
type Mode struct {
	// Name is what users call it.
	Name string
	// Uses are what else doctor has to look for: see [doctor.Needed].
	Uses []string
	// Check rejects what cannot be tested in this mode.
	Check func(spec kernel.Spec, compressor string) error
	// Patch puts the headers into a kernel's source before the build. It is
	// nil for a mode that leaves the source alone.
	Patch func(ctx context.Context, in PatchInput) (Patched, error)
	// Step is the report's name for Carry.
	Step string
	// Carry makes what contains the archive and inspects it. It runs before
	// every boot, even when the result comes from the cache.
	Carry func(ctx context.Context, in CarryInput) (stage.Carrier, error)
}

// PatchInput is what [Mode.Patch] takes.
type PatchInput struct {
	Store  cache.Store
	Source kernel.Source
	Target target.Target
	Say    stage.Say
}

// Patched is a source that builds its headers in.
type Patched struct {
	Source kernel.Source
	// Config, Variables and Inputs are for [kernel.BuildOptions].
	Config            string
	Variables, Inputs []string
}

// CarryInput is what [Mode.Carry] takes.
type CarryInput struct {
	Store   cache.Store
	Kernel  kernel.Kernel
	Archive stage.File
	Target  target.Target
	Jobs    int
	// Log receives make's output.
	Log string
	Say stage.Say
}

// checkCompressor rejects compressors that a build without our help cannot use.
func checkCompressor(compressor, who, mode string) error {
	if compressor == headers.DefaultCompressor {
		return nil
	}
	return hint.Usage(fmt.Errorf("%s compresses with %s, not %s", who, headers.DefaultCompressor, compressor),
		"leave --compressor out with --mode "+mode)
}
