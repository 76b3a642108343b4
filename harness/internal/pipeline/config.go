// SPDX-License-Identifier: BSD-3-Clause

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/kheaders/kheaders/harness/internal/doctor"
	"github.com/kheaders/kheaders/harness/internal/guest"
	"github.com/kheaders/kheaders/harness/internal/headers"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/mode"
	"github.com/kheaders/kheaders/harness/internal/stage"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
)

// Config says what to run. For a field with a default, the zero value means
// that default.
type Config struct {
	// Repo is the directory of our own sources, Cache keeps things from one
	// run to the next, and Results gets everything that this run writes.
	Repo, Cache, Results string
	// Cells get one verdict each.
	Cells []Cell

	// Tests is the package of guest tests, [guest.Tests] by default.
	Tests string
	// Thorough has the guest decode the whole archive.
	Thorough bool
	// BPF has the guest load a BPF program that was compiled against the archive.
	BPF bool
	// Install installs missing tools first.
	Install bool
	// Compressor makes the archive, [headers.DefaultCompressor] by default.
	Compressor string
	// Accel is the accelerator: "auto", the default, "kvm" or "tcg"; KVM is the
	// device to probe, /dev/kvm by default.
	Accel, KVM string
	// Configuration is the user's own, for every kernel.
	Configuration kernel.Configuration
	// KernelArgs are added to the kernel's command line.
	KernelArgs []string
	// Jobs is how many compilers may run at once, one per processor by default.
	Jobs int
	// Limits bound a boot under KVM, [DefaultLimits] by default. Slower
	// accelerators get more by their target's factor.
	Limits stage.Limits
	// Allow lists what the kernel may report and still pass.
	Allow verdict.Allowlist
	// Keep copies everything that was booted into the results.
	Keep bool

	// Progress receives lines for a person to read. It is never called from
	// two goroutines at once.
	Progress func(line string)
	// Command is the command line to print for repeating a cell, without
	// the options that select the cell.
	Command []string
}

// Cell is one combination of the matrix, and gets one verdict.
type Cell struct {
	Spec    kernel.Spec
	Target  target.Target
	Profile string
	Mode    mode.Mode
}

// Name returns the cell's name, which is also its directory's.
func (c Cell) Name() string {
	spec := c.Spec.String()
	if spec == "." {
		spec = filepath.Base(c.Spec.Anywhere())
	}
	slug := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, spec)
	return fmt.Sprintf("%s-%s-%s-%s", c.Target.Name, slug, c.Profile, c.Mode.Name)
}

// same reports whether two cells would test the same, or write to one directory.
func (c Cell) same(other Cell) bool {
	return c.Name() == other.Name() ||
		c.Spec.Same(other.Spec) && c.Target.Name == other.Target.Name && c.Profile == other.Profile && c.Mode.Name == other.Mode.Name
}

// Matrix returns every combination, kernels first.
func Matrix(kernels []kernel.Spec, targets []target.Target, profiles []string, modes []mode.Mode) []Cell {
	var cells []Cell
	for _, spec := range kernels {
		for _, t := range targets {
			for _, profile := range profiles {
				for _, m := range modes {
					cells = append(cells, Cell{spec, t, profile, m})
				}
			}
		}
	}
	return cells
}

// targets returns the architectures of the cells, each once.
func targets(cells []Cell) []target.Target {
	var found []target.Target
	for _, c := range cells {
		if !slices.ContainsFunc(found, func(t target.Target) bool { return t.Name == c.Target.Name }) {
			found = append(found, c.Target)
		}
	}
	return found
}

// Missing returns the tools that the cells need and that are not installed.
func (c Config) Missing(ctx context.Context, cells ...Cell) []doctor.Tool {
	var uses []string
	for _, cell := range cells {
		uses = slices.Concat(uses, []string{cell.Profile}, cell.Mode.Uses, cell.Spec.Uses())
	}
	if c.BPF {
		uses = append(uses, doctor.BPF)
	}
	return doctor.Missing(doctor.Needed(doctor.Examine(ctx, targets(cells)), uses...))
}

// check rejects a configuration that cannot be run.
func (c Config) check() error {
	if len(c.Cells) == 0 {
		return hint.Usage(errors.New("nothing to test: kernels, architectures, profiles and modes give no combination"),
			"name at least one of each, or none for the defaults")
	}
	for i, cell := range c.Cells {
		if slices.ContainsFunc(c.Cells[:i], cell.same) {
			return hint.Usage(fmt.Errorf("%s is to be tested twice", cell.Name()), "give each --kernel, --arch, --profile and --mode once")
		}
		if err := cell.Spec.CheckProfile(cell.Profile); err != nil {
			return err
		}
		if err := cell.Spec.CheckConfiguration(c.Configuration); err != nil {
			return err
		}
		if err := cell.Mode.Check(cell.Spec, c.Compressor); err != nil {
			return err
		}
	}
	if l := c.Limits; l.Silence < 0 || l.Test < 0 || l.Deadline < 0 || c.Jobs < 0 {
		return hint.Usage(errors.New("times and jobs cannot be negative"), "leave --silence, --test-deadline, --deadline and --jobs out for their defaults")
	}
	return nil
}

// withDefaults fills in what the caller left out.
func (c Config) withDefaults() Config {
	for field, value := range map[*string]string{
		&c.Tests: guest.Tests, &c.Compressor: headers.DefaultCompressor, &c.Accel: "auto", &c.KVM: "/dev/kvm",
	} {
		if *field == "" {
			*field = value
		}
	}
	if c.Jobs == 0 {
		c.Jobs = runtime.NumCPU()
	}
	for field, value := range map[*time.Duration]time.Duration{
		&c.Limits.Silence: DefaultLimits.Silence, &c.Limits.Test: DefaultLimits.Test, &c.Limits.Deadline: DefaultLimits.Deadline,
	} {
		if *field == 0 {
			*field = value
		}
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	return c
}

// DefaultLimits bound a boot under KVM.
var DefaultLimits = stage.Limits{Silence: 6 * time.Second, Test: 10 * time.Second, Deadline: 20 * time.Second}
