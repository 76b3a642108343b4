// SPDX-License-Identifier: BSD-3-Clause

package stage

import (
	"context"
	"fmt"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/target"
)

// FetchInput is what [Fetch] takes.
type FetchInput struct {
	Store cache.Store
	Spec  kernel.Spec
	// Targets are the architectures to fetch a prebuilt kernel for.
	Targets []target.Target
	Say     Say
}

// Fetch gets a kernel's source.
func Fetch(ctx context.Context, in FetchInput) (kernel.Source, error) {
	source, err := kernel.Fetch(ctx, in.Store, in.Spec, in.Say.progress("source"), in.Targets...)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return kernel.Source{}, fmt.Errorf("getting the kernel source: %w", err)
	}
	return source, nil
}
