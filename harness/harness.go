// SPDX-License-Identifier: BSD-3-Clause

// Package harness takes Linux kernels from their source to a verdict on
// /proc/kheaders.tar.xz. It builds each kernel and a module with its headers
// and boots them in QEMU, where Go tests load the module, read and verify the
// archive, and unload it again. The command "kheaders test" runs this package.
package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/kheaders/kheaders/harness/internal/guest"
	"github.com/kheaders/kheaders/harness/internal/headers"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/mode"
	"github.com/kheaders/kheaders/harness/internal/pipeline"
	"github.com/kheaders/kheaders/harness/internal/qemu"
	"github.com/kheaders/kheaders/harness/internal/stage"
	"github.com/kheaders/kheaders/harness/report"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
)

// Options say what a run does, like the command line of "kheaders test". Each
// field's zero value is its default.
type Options struct {
	// Kernels, Archs, Profiles and Modes span the matrix: each combination is a
	// cell with a verdict of its own. By default they are debian:6.12 on Debian,
	// every architecture, "default" and "module".
	Kernels, Archs, Profiles, Modes []string

	// Cache is the directory that keeps results between runs. Results is the
	// directory that everything in this run is written to. Neither has a
	// default.
	Cache, Results string

	// Tests is the Go package of the guest tests.
	Tests string
	// Thorough has the guest decode the whole archive, not its start.
	Thorough bool
	// BPF has the guest load a BPF program that clang compiled against the
	// archive.
	BPF bool
	// Install installs missing tools first, with apt.
	Install bool
	// Compressor makes the archive: "xz" or "go".
	Compressor string
	// Accel is QEMU's accelerator: "auto", "kvm" or "tcg".
	Accel string
	// KVM is the KVM device, /dev/kvm by default.
	KVM string
	// Config is a file with the kernels' configuration: a whole .config, to which
	// what the guest needs is added, or a fragment.
	Config string
	// KernelArgs are added to the kernel's command line.
	KernelArgs []string
	// Jobs is how many compilers may run at once; by default one per processor.
	Jobs int
	// Silence, TestDeadline and Deadline bound a boot under KVM: how long the
	// guest may say nothing, how long one test may take, and how long everything
	// may take. Each slower accelerator stretches them by its own factor.
	Silence, TestDeadline, Deadline time.Duration
	// Allow is a file that lists what the kernel may report without failing the
	// run.
	Allow string
	// Keep puts copies of everything that was booted into the results.
	Keep bool

	// Progress, if set, receives lines for a person to read, one at a time.
	Progress func(line string)
	// Command is the command line to print for running a cell again, without the
	// options that select the cell.
	Command []string
}

// Run runs every cell of the matrix and writes the reports into o.Results. It
// returns an error only for a mistake in the options or a failure to write the
// reports. Everything else that goes wrong is a verdict: see
// [report.Run.ExitCode].
func Run(ctx context.Context, o Options) (report.Run, error) {
	config, err := o.config(ctx)
	if err != nil {
		return report.Run{}, err
	}
	return pipeline.Run(ctx, config)
}

// Shell prepares the one cell that the options name, and returns the command
// line that boots it to u-root's shell on the terminal. With gdb, QEMU waits
// for a debugger on port 1234. A shell often has to explain a failed run, so it
// leaves the reports in o.Results alone and writes to a subdirectory, "shell".
// The caller owns that until it calls release, or until the program ends that it
// becomes.
func Shell(ctx context.Context, o Options, gdb bool) (argv []string, release func(), err error) {
	config, err := o.config(ctx)
	if err != nil {
		return nil, nil, err
	}
	config.Results = filepath.Join(config.Results, "shell")
	session, err := pipeline.Prepare(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	argv, err = session.Shell(gdb)
	if err != nil {
		session.Close()
		return nil, nil, err
	}
	return argv, session.Close, nil
}

// Modes returns the names of the modes in which headers can be tested, the
// default first.
func Modes() []string { return mode.Names() }

// Profiles returns the names of the kernel configurations.
func Profiles() []string { return kernel.Profiles() }

// config resolves what the options name.
func (o Options) config(ctx context.Context) (c pipeline.Config, err error) {
	c = pipeline.Config{
		Tests: o.Tests, Thorough: o.Thorough, BPF: o.BPF, Install: o.Install, Keep: o.Keep,
		Compressor: o.Compressor, Accel: o.Accel, KVM: o.KVM, KernelArgs: o.KernelArgs, Jobs: o.Jobs,
		Limits:   stage.Limits{Silence: o.Silence, Test: o.TestDeadline, Deadline: o.Deadline},
		Progress: o.Progress, Command: o.Command,
	}
	if c.Cells, err = o.cells(); err != nil {
		return c, err
	}
	if accels := []string{"", "auto", string(qemu.KVM), string(qemu.TCG)}; !slices.Contains(accels, o.Accel) {
		return c, hint.Usage(fmt.Errorf("unknown accelerator %q", o.Accel), "use --accel auto, kvm or tcg")
	}
	if o.Compressor != "" {
		if err := headers.CheckCompressor(o.Compressor); err != nil {
			return c, err
		}
	}
	if o.Config != "" {
		if c.Configuration, err = kernel.ReadConfiguration(o.Config); err != nil {
			return c, err
		}
	}
	if o.Allow != "" {
		if c.Allow, err = readAllowlist(o.Allow); err != nil {
			return c, err
		}
	}
	if c.Repo, err = guest.FindSources(ctx); err != nil {
		return c, err
	}
	if c.Results, err = filepath.Abs(o.Results); err != nil {
		return c, err
	}
	c.Cache, err = pipeline.CacheDir(o.Cache)
	return c, err
}

// cells resolves the matrix.
func (o Options) cells() ([]pipeline.Cell, error) {
	kernels, err := each(o.Kernels, "", pipeline.Kernel)
	if err != nil {
		return nil, err
	}
	targets := target.All()
	if len(o.Archs) > 0 {
		if targets, err = each(o.Archs, "", pipeline.Arch); err != nil {
			return nil, err
		}
	}
	profiles, err := each(o.Profiles, kernel.DefaultProfile, pipeline.Profile)
	if err != nil {
		return nil, err
	}
	modes, err := each(o.Modes, mode.Default().Name, mode.Lookup)
	if err != nil {
		return nil, err
	}
	return pipeline.Matrix(kernels, targets, profiles, modes), nil
}

// each looks up all names, or just otherwise if there are none.
func each[T any](names []string, otherwise string, lookUp func(string) (T, error)) ([]T, error) {
	if len(names) == 0 {
		names = []string{otherwise}
	}
	var found []T
	for _, name := range names {
		v, err := lookUp(name)
		if err != nil {
			return nil, err
		}
		found = append(found, v)
	}
	return found, nil
}

// readAllowlist reads the list of what the kernel may report.
func readAllowlist(path string) (_ verdict.Allowlist, err error) {
	const advice = "write one entry a line, as NAME: TEXT # REASON, with NAME and TEXT of a finding in results.json"
	f, err := os.Open(path)
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("reading the allowlist: %w", err), advice)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	list, err := verdict.ParseAllowlist(f)
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("%s: %w", path, err), advice)
	}
	return list, nil
}
