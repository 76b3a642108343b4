// SPDX-License-Identifier: BSD-3-Clause

// Package harness takes kernels from their source to a verdict. Read this file
// first: Run below is the pipeline, and each stage of it is one function of
// stages.go, with what it needs going in and what it made coming out.
//
//	kernel source ─▶ kernel ─▶ headers archive ─▶ kheaders.ko ─▶ initramfs ─▶ QEMU ─▶ verdict ─▶ report
package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/kheaders/kheaders/harness/cache"
	"github.com/kheaders/kheaders/harness/doctor"
	"github.com/kheaders/kheaders/harness/guest"
	"github.com/kheaders/kheaders/harness/hint"
	"github.com/kheaders/kheaders/harness/kernel"
	"github.com/kheaders/kheaders/harness/kmod"
	"github.com/kheaders/kheaders/harness/qemu"
	"github.com/kheaders/kheaders/harness/report"
	"github.com/kheaders/kheaders/harness/run"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
)

// Config is what a run is to do. The zero value of a field with a default
// means that default.
type Config struct {
	// Repo is the directory of our own sources.
	Repo string
	// Cache is the directory that results are kept in between runs.
	Cache string
	// Results is the directory that everything of this run is written to.
	Results string

	// Kernels, Targets, Profiles and Modes span the matrix.
	Kernels  []kernel.Spec
	Targets  []target.Target
	Profiles []string
	Modes    []string

	// Tests is the package of guest tests, [guest.Tests] by default.
	Tests string
	// Thorough has the guest decode the whole archive.
	Thorough bool
	// BPF has the guest load a BPF program that was compiled against the archive.
	BPF bool
	// Install has the missing tools installed first.
	Install bool
	// Compressor makes the archive: "xz", the default, or "go".
	Compressor string
	// Accel is the accelerator: "auto", the default, "kvm" or "tcg".
	Accel string
	// KernelArgs are added to the kernel's command line.
	KernelArgs []string
	// Jobs is how many compilers may run at once, one per processor by
	// default.
	Jobs int
	// Silence, TestDeadline and Deadline bound a boot under KVM: how long it
	// may say nothing, how long one test may take, and how long all may take.
	// Slower accelerators get more by their target's factor.
	Silence, TestDeadline, Deadline time.Duration
	// Allow lists what the kernel may report and pass nevertheless.
	Allow verdict.Allowlist
	// Keep has the results hold copies of everything that was booted.
	Keep bool
	// KVM is the device to probe, /dev/kvm by default.
	KVM string

	// Progress receives lines for a person to read. It is never called from
	// two goroutines at once.
	Progress func(line string)
	// Command is the command line to print for a repetition, without the
	// options that select a cell.
	Command []string
}

// How long a boot may stay silent, a test may take, and a boot may take in all,
// under KVM.
const (
	DefaultSilence      = 6 * time.Second
	DefaultTestDeadline = 10 * time.Second
	DefaultDeadline     = 20 * time.Second
)

// The modes in which a kernel can have its headers.
const (
	// ModeModule: a module, loaded into a kernel that knows nothing of it.
	ModeModule = "module"
	// ModeBuiltin: in the kernel itself, whose source is patched. Its own
	// build packs them.
	ModeBuiltin = "builtin"
	// ModeDKMS: a module as well, which DKMS builds for a kernel that comes
	// built.
	ModeDKMS = "dkms"
)

// Modes returns the names of the known modes, the default first.
func Modes() []string { return []string{ModeModule, ModeBuiltin, ModeDKMS} }

// Cell is one combination of the matrix: it gives one verdict.
type Cell struct {
	Spec    kernel.Spec
	Target  target.Target
	Profile string
	Mode    string
}

// Name names the cell, as a directory.
func (c Cell) Name() string {
	slug := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, c.Spec.String())
	return fmt.Sprintf("%s-%s-%s-%s", c.Target.Name, slug, c.Profile, c.Mode)
}

// Cells returns the matrix, kernels first.
func (c Config) Cells() []Cell {
	var cells []Cell
	for _, spec := range c.Kernels {
		for _, t := range c.Targets {
			for _, profile := range c.Profiles {
				for _, mode := range c.Modes {
					cells = append(cells, Cell{spec, t, profile, mode})
				}
			}
		}
	}
	return cells
}

// Missing returns the tools that are not installed and that the cells need.
func (c Config) Missing(ctx context.Context, cells ...Cell) []doctor.Tool {
	var targets []target.Target
	var uses []string
	for _, cell := range cells {
		if !slices.ContainsFunc(targets, func(t target.Target) bool { return t.Name == cell.Target.Name }) {
			targets = append(targets, cell.Target)
		}
		uses = append(uses, cell.Profile, cell.Mode)
		if cell.Spec.Prebuilt() {
			uses = append(uses, doctor.Image)
		}
	}
	if c.BPF {
		uses = append(uses, doctor.BPF)
	}
	return doctor.Missing(doctor.Needed(doctor.Examine(ctx, targets), uses...))
}

// bench is the workplace of a run: what its stages share.
type bench struct {
	Config
	store  cache.Store
	guest  guest.Builder
	prober qemu.Prober
	// builds and boots are how many kernels may be built and machines run at
	// once: a second build gains nothing where one uses all processors, and
	// two machines that share processors cannot be timed.
	builds, boots *semaphore.Weighted
	say           sync.Mutex
}

// Run runs the whole matrix and writes its reports into c.Results. The error is
// a mistake in the configuration, or a failure to write the reports; everything
// else is a verdict.
func Run(ctx context.Context, c Config) (report.Run, error) {
	b, err := c.prepare()
	if err != nil {
		return report.Run{}, err
	}
	unlock, err := b.claimResults()
	if err != nil {
		return report.Run{}, err
	}
	defer unlock()
	cells := c.Cells()
	if c.Install {
		progress := func(line string) { b.line("install", "%s", line) }
		if err := doctor.Install(ctx, c.Missing(ctx, cells...), progress); err != nil {
			return report.Run{}, err
		}
	}

	result := report.New(c.Command)
	sources, err := b.fetch(ctx)
	if err != nil {
		return report.Run{}, err
	}
	result.Cells = make([]report.Cell, len(cells))
	var group sync.WaitGroup
	for i, cell := range cells {
		group.Go(func() { result.Cells[i] = b.judge(ctx, cell, sources[cell.Spec]) })
	}
	group.Wait()
	b.reportUnused(&result)
	result.Finish()
	if err := report.Write(c.Results, result); err != nil {
		return result, Advise(fmt.Errorf("writing the reports: %w", err), target.Target{})
	}
	return result, nil
}

// reportUnused notes the entries of the allowlist that no cell needed.
func (b *bench) reportUnused(result *report.Run) {
	var found []verdict.Finding
	for _, cell := range result.Cells {
		found = append(found, cell.Findings...)
	}
	for _, entry := range b.Allow.Unused(found) {
		result.UnusedAllowances = append(result.UnusedAllowances, entry.String())
		b.line("allow", "unused: %s", entry)
	}
}

// fetched is a kernel's source, or why there is none.
type fetched struct {
	source kernel.Source
	err    error
}

// fetch gets the source of every kernel, once for all its cells. The error is
// the user's mistake; what goes wrong otherwise is for the cells to report.
func (b *bench) fetch(ctx context.Context) (map[kernel.Spec]fetched, error) {
	sources := map[kernel.Spec]fetched{}
	for _, spec := range b.Kernels {
		source, err := kernel.Fetch(ctx, b.store, spec, func(line string) { b.line("source", "%s", line) }, b.Targets...)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			err = fmt.Errorf("getting the kernel source: %w", err)
		}
		if hint.IsUsage(err) {
			return nil, err
		}
		sources[spec] = fetched{source, err}
	}
	return sources, nil
}

// newCell begins a cell's report.
func (b *bench) newCell(cell Cell) *report.Cell {
	return &report.Cell{
		Arch: cell.Target.Name, Kernel: cell.Spec.String(), Profile: cell.Profile, Mode: cell.Mode,
		Repeat: run.Quote(b.repeat(cell)),
	}
}

// judge takes one cell through all stages. Whatever happens, the cell that it
// returns has a verdict.
func (b *bench) judge(ctx context.Context, cell Cell, from fetched) report.Cell {
	out := b.newCell(cell)
	w, err := b.open(cell, out)
	if err == nil {
		err = from.err
	}
	if err == nil {
		err = w.stages(ctx, from.source)
	}
	if err != nil {
		w.fail(ctx, err)
	}
	w.listLogs()
	b.progress(cell, "verdict", "%s", out.Summary())
	return *out
}

// fail gives the cell the verdict of an error that kept it from a judgement.
func (w *work) fail(ctx context.Context, err error) {
	err = Advise(err, w.cell.Target)
	v := verdict.InfraError
	if failedBuild(err) && ctx.Err() == nil {
		v = verdict.BuildFailed
	}
	w.out.SetResult(verdict.Failed(v, err))
	w.out.Hint = hint.Of(err)
	if build, ok := errors.AsType[*kernel.BuildError](err); ok {
		w.out.Lines = build.Lines
	} else if program, ok := errors.AsType[*run.Error](err); ok {
		w.out.Lines = program.Tail[max(0, len(program.Tail)-10):]
	}
}

// stages is the pipeline.
func (w *work) stages(ctx context.Context, source kernel.Source) error {
	if err := doctor.Error(w.Missing(ctx, w.cell)); err != nil {
		return err
	}
	boot, err := w.ready(ctx, source)
	if err != nil {
		return err
	}
	return boot.run(ctx)
}

// Boot is everything that goes into the boot of one cell.
type Boot struct {
	// Kernel is the image to boot.
	Kernel string
	// Module is the kheaders.ko that goes into the initramfs; empty when the
	// headers are built in.
	Module string
	// OwnModule is the kernel's own kheaders.ko, which goes there as well, or
	// empty.
	OwnModule string

	work    *work
	built   kernel.Kernel
	archive archiveFile
	// bpf is the compiled BPF program, or empty.
	bpf     string
	drivers []kmod.Driver
	made    moduleFiles
	// sysfsTaken says that the kernel's own kheaders has the file in /sys.
	sysfsTaken bool
	programs   guestPrograms
	accel      qemu.Choice
	ticksKHz   int
}

// ready makes everything that goes into a boot. The guest's programs and the
// accelerator do not depend on the kernel; they get ready while it is built.
func (w *work) ready(ctx context.Context, source kernel.Source) (*Boot, error) {
	b := &Boot{work: w}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		b.programs, err = w.compileGuest(groupCtx)
		return err
	})
	group.Go(func() (err error) {
		b.accel, err = w.chooseAccel(groupCtx)
		b.ticksKHz = qemu.HostTicks()
		return err
	})
	group.Go(func() (err error) {
		if w.cell.Mode == ModeBuiltin {
			if source, err = w.patchSource(groupCtx, source); err != nil {
				return err
			}
		}
		if b.built, err = w.buildKernel(groupCtx, source); err != nil {
			return err
		}
		b.Kernel = b.built.Image
		if b.drivers, err = w.findDrivers(b.built); err != nil {
			return err
		}
		if b.archive, err = w.packHeaders(groupCtx, b.built); err != nil {
			return err
		}
		if b.bpf, err = w.compileBPF(groupCtx, b.built, b.archive); err != nil {
			return err
		}
		if w.cell.Mode == ModeBuiltin {
			if b.sysfsTaken, err = w.ownBuiltin(b.built); err != nil {
				return err
			}
			return w.checkKernel(b.built, b.archive)
		}
		if b.made, err = w.buildModule(groupCtx, b.built, b.archive); err != nil {
			return err
		}
		b.sysfsTaken = b.made.kernel.OwnBuiltin
		b.Module, b.OwnModule = b.made.path(kmod.ModuleFile), b.made.kernel.OwnModule
		return nil
	})
	err := group.Wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return b, err
}

// run boots the cell and gives it its verdict.
func (b *Boot) run(ctx context.Context) error {
	image, err := b.initramfs(b.plan())
	if err != nil {
		return err
	}
	evidence, err := b.boot(ctx, image)
	if err != nil {
		return err
	}
	result := verdict.Decide(evidence)
	annotated := b.annotate(result.Findings)
	b.work.out.Hint = cmp.Or(b.work.out.Hint, b.advice(result.Verdict, annotated))
	b.work.out.SetResult(result)
	return nil
}

// advice says how a verdict can be looked into, or nothing.
func (b *Boot) advice(v verdict.Verdict, annotated bool) string {
	switch cell := b.work.cell; {
	case v == verdict.BootHang && b.accel.Accel == qemu.KVM:
		return "--accel tcg boots it without KVM, which tells whether that is to blame"
	case (v == verdict.KernelSplat || v == verdict.KernelPanic) && !annotated && cell.Profile == kernel.DefaultProfile && !cell.Spec.Prebuilt():
		return "--profile debug builds a kernel that says in which source lines, and finds more (KASAN, lockdep, kmemleak)"
	}
	return ""
}

// Prepare makes the one cell of c ready to boot. The results directory is the
// caller's until release is called.
func Prepare(ctx context.Context, c Config) (_ *Boot, release func(), err error) {
	cells := c.Cells()
	if len(cells) != 1 {
		return nil, nil, hint.Usage(fmt.Errorf("this is for one machine, and the options name %d", len(cells)), "give --kernel, --arch, --profile and --mode once")
	}
	cell := cells[0]
	b, err := c.prepare()
	if err != nil {
		return nil, nil, err
	}
	release, err = b.claimResults()
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			release()
			err = Advise(err, cell.Target)
		}
	}()
	sources, err := b.fetch(ctx)
	if err != nil {
		return nil, nil, err
	}
	from := sources[cell.Spec]
	if from.err != nil {
		return nil, nil, from.err
	}
	w, err := b.open(cell, b.newCell(cell))
	if err != nil {
		return nil, nil, err
	}
	boot, err := w.ready(ctx, from.source)
	return boot, release, err
}

// Run boots what was prepared and returns the cell with its verdict.
func (b *Boot) Run(ctx context.Context) report.Cell {
	if err := b.run(ctx); err != nil {
		b.work.fail(ctx, err)
	}
	b.work.listLogs()
	return *b.work.out
}

// Built returns the kernel that is booted.
func (b *Boot) Built() kernel.Kernel { return b.built }

// Headers returns the path of the archive that is in the module.
func (b *Boot) Headers() string { return b.archive.Path }

// Floor boots the same machine and kernel with another initramfs and returns
// the seconds from QEMU's start to its end: with an init that ends at once, the
// floor for any verdict.
func (b *Boot) Floor(ctx context.Context, image string) (float64, error) {
	exit, err := b.machine(image).Run(ctx, qemu.Watch{
		Console: io.Discard, Events: io.Discard, Log: io.Discard,
		Silence: DefaultDeadline, Deadline: DefaultDeadline,
	})
	if err != nil {
		return 0, err
	}
	if exit.Killed != nil {
		return 0, fmt.Errorf("the machine did not end by itself: %w", exit.Killed)
	}
	if exit.Code != 0 {
		return 0, fmt.Errorf("QEMU ended with code %d", exit.Code)
	}
	return exit.Seconds, nil
}

// Shell returns the command line that boots to u-root's shell on the terminal,
// with the module at /kheaders/kheaders.ko. With gdb, QEMU waits for a debugger
// on port 1234.
func (b *Boot) Shell(gdb bool) ([]string, error) {
	plan := b.plan()
	plan.TestBinary = "" // the agent then runs the shell
	image, err := b.initramfs(plan)
	if err != nil {
		return nil, err
	}
	machine := b.machine(image)
	if gdb {
		machine.Args = []string{"-gdb", "tcp::1234", "-S"}
		b.work.say("gdb", "gdb %s -ex 'target remote :1234'", filepath.Join(b.built.Dir, "vmlinux"))
	}
	return machine.ShellCommand()
}

// prepare checks the configuration and fills in the defaults.
func (c Config) prepare() (*bench, error) {
	if len(c.Cells()) == 0 {
		return nil, hint.Usage(errors.New("nothing to test: kernels, architectures, profiles and modes span no cell"),
			"name at least one of each, or none for the defaults")
	}
	if c.Tests == "" {
		c.Tests = guest.Tests
	}
	if c.Accel == "" {
		c.Accel = "auto"
	}
	if c.Jobs == 0 {
		c.Jobs = runtime.NumCPU()
	}
	if c.Silence == 0 {
		c.Silence = DefaultSilence
	}
	if c.TestDeadline == 0 {
		c.TestDeadline = DefaultTestDeadline
	}
	if c.KVM == "" {
		c.KVM = "/dev/kvm"
	}
	if c.Deadline == 0 {
		c.Deadline = DefaultDeadline
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	named := map[string]bool{}
	for _, cell := range c.Cells() {
		if named[cell.Name()] {
			return nil, hint.Usage(fmt.Errorf("%s is to be tested twice", cell.Name()), "give each --kernel, --arch, --profile and --mode once")
		}
		named[cell.Name()] = true
		if err := cell.Spec.CheckProfile(cell.Profile); err != nil {
			return nil, err
		}
	}
	if err := c.checkBuiltin(); err != nil {
		return nil, err
	}
	if err := c.checkDKMS(); err != nil {
		return nil, err
	}
	if c.Silence < 0 || c.TestDeadline < 0 || c.Deadline < 0 || c.Jobs < 0 {
		return nil, hint.Usage(errors.New("times and jobs cannot be negative"), "leave --silence, --test-deadline, --deadline and --jobs out for their defaults")
	}
	b := &bench{
		Config: c,
		prober: qemu.Prober{Dir: filepath.Join(c.Cache, "accel"), Device: c.KVM, Patience: qemu.Patience},
		builds: semaphore.NewWeighted(1),
		boots:  semaphore.NewWeighted(int64(max(1, runtime.NumCPU()/2))),
	}
	b.store = cache.Store{Dir: c.Cache, OnWait: func(kind string, _ cache.Key) {
		b.line("cache", "waiting for another run, which makes the same %s", kind)
	}}
	b.guest = guest.Builder{Repo: c.Repo, Store: b.store}
	return b, nil
}

// claimResults makes the results directory this run's own: what an earlier run
// reported is removed, so that it cannot be taken for ours.
func (b *bench) claimResults() (unlock func(), err error) {
	advice := "choose another directory with --results DIR"
	if err := os.MkdirAll(b.Results, 0o755); err != nil {
		return nil, hint.Usage(fmt.Errorf("making the results directory: %w", err), advice)
	}
	f, err := os.OpenFile(filepath.Join(b.Results, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("claiming the results directory: %w", err), advice)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, hint.Usage(fmt.Errorf("another run is writing to %s", b.Results), advice)
	}
	for _, name := range report.Files() {
		if err := os.RemoveAll(filepath.Join(b.Results, name)); err != nil {
			return nil, errors.Join(fmt.Errorf("clearing the results directory: %w", err), f.Close())
		}
	}
	return func() { _ = f.Close() }, nil
}

// repeat returns the command that runs one cell again.
func (b *bench) repeat(cell Cell) []string {
	argv := append([]string(nil), b.Command...)
	return append(argv, "--kernel", cell.Spec.String(), "--arch", cell.Target.Name,
		"--profile", cell.Profile, "--mode", cell.Mode)
}

// progress reports a line about a cell's stage.
func (b *bench) progress(cell Cell, stage, format string, args ...any) {
	b.line(cell.Target.Name, "%-8s %s", stage, fmt.Sprintf(format, args...))
}

// line reports a line about what is named first.
func (b *bench) line(subject, format string, args ...any) {
	b.say.Lock()
	defer b.say.Unlock()
	b.Progress(fmt.Sprintf("%-7s %s", subject, fmt.Sprintf(format, args...)))
}

// Advise adds to an error what the user can do about it.
func Advise(err error, t target.Target) error {
	if fullDisk(err) {
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
			err = fmt.Errorf("%w: %w", err, syscall.ENOSPC) // a program said so, and nobody passed it on
		}
		return hint.New(err, "free some space, or put the cache elsewhere with --cache DIR or XDG_CACHE_HOME")
	}
	if hint.Of(err) != "" {
		return err
	}
	if missing, ok := errors.AsType[*run.NotFoundError](err); ok {
		if tool, ok := doctor.Lookup(missing.Program, t); ok {
			return hint.New(err, doctor.Hint([]doctor.Tool{tool}))
		}
	}
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR) {
		return hint.New(err, "choose a directory that you may write to with --results DIR or --cache DIR")
	}
	return err
}

// fullDisk tells whether there was no room to write to, for us or for a program
// that we ran.
func fullDisk(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	program, ok := errors.AsType[*run.Error](err)
	return ok && slices.ContainsFunc(program.Tail, func(line string) bool {
		return strings.Contains(strings.ToLower(line), syscall.ENOSPC.Error())
	})
}

// failedBuild tells whether what was to be tested did not build, as opposed to
// the harness not working.
func failedBuild(err error) bool {
	if fullDisk(err) {
		return false
	}
	if _, ok := errors.AsType[*kernel.BuildError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*kernel.ConfigError](err); ok {
		return true
	}
	_, ok := errors.AsType[*buildError](err)
	return ok
}
