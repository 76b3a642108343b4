// SPDX-License-Identifier: BSD-3-Clause

package stage

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/kmod"
)

// BuildInput is what [Build] takes.
type BuildInput struct {
	Store   cache.Store
	Source  kernel.Source
	Options kernel.BuildOptions
	// Drivers are the modules that the guest needs to report anything.
	Drivers []string
	Say     Say
}

// Built is a kernel that can be booted.
type Built struct {
	kernel.Kernel
	// Image is the file to boot, at Kernel.Image.
	Image File
	// Drivers are those of the kernel's own modules that the guest loads
	// first. There are none when everything is built in.
	Drivers []kmod.Driver
}

// Build builds a kernel, or takes it from the cache.
func Build(ctx context.Context, in BuildInput) (Built, error) {
	in.Options.Progress = in.Say.progress("kernel")
	made, err := kernel.Build(ctx, in.Store, in.Source, in.Options)
	if err != nil {
		return Built{}, fmt.Errorf("building the kernel: %w", err)
	}
	in.Say("kernel", "%s (%s)", made.Release, made.How)
	built := Built{Kernel: made}
	if built.Image, err = Digest(made.Image); err != nil {
		return built, err
	}
	if made.Modules == "" {
		return built, nil
	}
	if built.Drivers, err = kmod.Drivers(made.Modules, in.Drivers...); err != nil {
		return built, fmt.Errorf("looking for the guest's drivers: %w", err)
	}
	var names []string
	for _, d := range built.Drivers {
		names = append(names, d.Name)
	}
	in.Say("drivers", "%s", cmp.Or(strings.Join(names, ", "), "built in"))
	return built, nil
}
