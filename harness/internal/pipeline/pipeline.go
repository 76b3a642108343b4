// SPDX-License-Identifier: BSD-3-Clause

// Package pipeline takes the cells of a matrix through the stages, from a
// kernel's source to a verdict. cell.go has the order of the stages, inputs.go
// what goes into each, and report.go what comes out in the end.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/doctor"
	"github.com/kheaders/kheaders/harness/internal/guest"
	"github.com/kheaders/kheaders/harness/internal/headers"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/mode"
	"github.com/kheaders/kheaders/harness/internal/qemu"
	"github.com/kheaders/kheaders/harness/internal/stage"
	"github.com/kheaders/kheaders/harness/report"
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
	slug := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, c.Spec.String())
	return fmt.Sprintf("%s-%s-%s-%s", c.Target.Name, slug, c.Profile, c.Mode.Name)
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
		return hint.Usage(errors.New("nothing to test: kernels, architectures, profiles and modes span no cell"),
			"name at least one of each, or none for the defaults")
	}
	named := map[string]bool{}
	for _, cell := range c.Cells {
		if named[cell.Name()] {
			return hint.Usage(fmt.Errorf("%s is to be tested twice", cell.Name()), "give each --kernel, --arch, --profile and --mode once")
		}
		named[cell.Name()] = true
		if err := cell.Spec.CheckProfile(cell.Profile); err != nil {
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

// runner is what the cells of a run share.
type runner struct {
	Config
	store  cache.Store
	guest  guest.Builder
	prober qemu.Prober
	// builds and boots limit how many kernels are built and how many
	// machines run at once. A second build gains nothing where one uses all
	// processors, and two machines that share processors cannot be timed.
	builds, boots *semaphore.Weighted
	printing      sync.Mutex
}

// newRunner fails when the configuration cannot be run.
func newRunner(c Config) (*runner, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	r := &runner{
		Config: c,
		prober: qemu.Prober{Dir: filepath.Join(c.Cache, "accel"), Device: c.KVM, Patience: c.Limits.Silence},
		builds: semaphore.NewWeighted(1),
		boots:  semaphore.NewWeighted(int64(max(1, runtime.NumCPU()/2))),
	}
	r.store = cache.Store{Dir: c.Cache, OnWait: func(kind string, _ cache.Key) {
		r.say("cache", "waiting for another run, which makes the same %s", kind)
	}}
	r.guest = guest.Builder{Repo: c.Repo, Store: r.store}
	return r, nil
}

// say reports a line of progress about a subject.
func (r *runner) say(subject, format string, args ...any) {
	r.printing.Lock()
	defer r.printing.Unlock()
	r.Progress(fmt.Sprintf("%-7s %s", subject, fmt.Sprintf(format, args...)))
}

// Run runs all cells and writes their reports into the results directory. It
// returns an error only for a mistake in the configuration or a failure to
// write the reports; everything else is a verdict.
func Run(ctx context.Context, c Config) (report.Run, error) {
	r, err := newRunner(c)
	if err != nil {
		return report.Run{}, err
	}
	release, err := claim(r.Results)
	if err != nil {
		return report.Run{}, err
	}
	defer release()
	if r.Install {
		progress := func(line string) { r.say("install", "%s", line) }
		if err := doctor.Install(ctx, r.Missing(ctx, r.Cells...), progress); err != nil {
			return report.Run{}, err
		}
	}
	result := report.New(r.Command)
	sources, err := r.fetch(ctx)
	if err != nil {
		return report.Run{}, err
	}
	result.Cells = make([]report.Cell, len(r.Cells))
	var group sync.WaitGroup
	for i, c := range r.Cells {
		group.Go(func() { result.Cells[i] = r.judge(ctx, c, sources[c.Spec]) })
	}
	group.Wait()
	result.UnusedAllowances = r.unused(result.Cells)
	result.Finish()
	if err := report.Write(r.Results, result); err != nil {
		return result, Advise(fmt.Errorf("writing the reports: %w", err), target.Target{})
	}
	return result, nil
}

// fetched is a kernel's source, or why there is none.
type fetched struct {
	source kernel.Source
	err    error
}

// fetch gets the source of every kernel, once for all its cells. The error is
// the user's mistake; anything else that goes wrong is up to the cells to
// report.
func (r *runner) fetch(ctx context.Context) (map[kernel.Spec]fetched, error) {
	sources := map[kernel.Spec]fetched{}
	for _, c := range r.Cells {
		if _, done := sources[c.Spec]; done {
			continue
		}
		source, err := stage.Fetch(ctx, stage.FetchInput{Store: r.store, Spec: c.Spec, Targets: targets(r.Cells), Say: r.say})
		if hint.IsUsage(err) {
			return nil, err
		}
		sources[c.Spec] = fetched{source, err}
	}
	return sources, nil
}

// unused lists the entries of the allowlist that no cell needed.
func (r *runner) unused(cells []report.Cell) []string {
	var found []verdict.Finding
	for _, c := range cells {
		found = append(found, c.Findings...)
	}
	var list []string
	for _, entry := range r.Allow.Unused(found) {
		list = append(list, entry.String())
		r.say("allow", "unused: %s", entry)
	}
	return list
}
