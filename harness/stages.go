// SPDX-License-Identifier: BSD-3-Clause

package harness

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/kheaders/kheaders/harness/bpf"
	"github.com/kheaders/kheaders/harness/cache"
	"github.com/kheaders/kheaders/harness/guest"
	"github.com/kheaders/kheaders/harness/headers"
	"github.com/kheaders/kheaders/harness/hint"
	"github.com/kheaders/kheaders/harness/kernel"
	"github.com/kheaders/kheaders/harness/kmod"
	"github.com/kheaders/kheaders/harness/qemu"
	"github.com/kheaders/kheaders/harness/report"
	"github.com/kheaders/kheaders/harness/run"
	"github.com/kheaders/kheaders/harness/symbol"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
	"github.com/kheaders/kheaders/initramfs"
	"github.com/kheaders/kheaders/initramfs/wire"
	"github.com/kheaders/kheaders/module/source"
)

// memoryMiB is the guest's memory. It holds the initramfs twice while the
// kernel unpacks it; more of it only lengthens the boot.
const memoryMiB = 256

// work is one cell on its way through the stages.
type work struct {
	*bench
	cell Cell
	// dir is where the cell's files go, below the results directory.
	dir string
	out *report.Cell
	// timing guards out.Stages, which stages that run side by side fill.
	timing sync.Mutex
}

// buildError is the failure to build what was to be tested.
type buildError struct{ err error }

func (e *buildError) Error() string { return e.err.Error() }
func (e *buildError) Unwrap() error { return e.err }

// open makes the cell's directory, empty.
func (b *bench) open(cell Cell, out *report.Cell) (*work, error) {
	w := &work{bench: b, cell: cell, dir: filepath.Join(b.Results, cell.Name()), out: out}
	out.Dir = w.dir
	if err := os.RemoveAll(w.dir); err != nil {
		return w, fmt.Errorf("clearing the results: %w", err)
	}
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return w, fmt.Errorf("making the results directory: %w", err)
	}
	return w, nil
}

func (w *work) path(name string) string { return filepath.Join(w.dir, name) }

// The logs of a cell. A stage whose result is in the cache writes none.
const (
	kernelLog  = "kernel.log"
	bpfLog     = "bpf.log"
	moduleLog  = "module.log"
	guestLog   = "guest.log"
	consoleLog = "console.log"
	eventsLog  = "events.jsonl"
	// timesLog is the console again, each line behind the seconds since QEMU's
	// start.
	timesLog = "console.times.log"
	qemuLog  = "qemu.log"
)

// The causes with which a boot ends a machine, besides those of package qemu.
var (
	errSlowTest = errors.New("a test takes too long")
	errFlood    = errors.New("too many events")
)

// listLogs lists the logs that were written in the report.
func (w *work) listLogs() {
	for _, name := range []string{kernelLog, bpfLog, moduleLog, guestLog, consoleLog, timesLog, eventsLog, qemuLog} {
		if _, err := os.Stat(w.path(name)); err == nil {
			w.out.AddLog(w.path(name))
		}
	}
}

// stage times a stage for the report.
func (w *work) stage(name string, start time.Time) {
	w.timing.Lock()
	defer w.timing.Unlock()
	w.out.AddStage(name, time.Since(start).Seconds())
}

func (w *work) say(stage, format string, args ...any) {
	w.progress(w.cell, stage, format, args...)
}

// buildKernel builds the kernel, or takes it from the cache.
func (w *work) buildKernel(ctx context.Context, tree kernel.Source) (kernel.Kernel, error) {
	if err := w.builds.Acquire(ctx, 1); err != nil {
		return kernel.Kernel{}, context.Cause(ctx)
	}
	defer w.builds.Release(1)
	defer w.stage("kernel", time.Now())
	options := kernel.BuildOptions{
		Target: w.cell.Target, Profile: w.cell.Profile, Jobs: w.Jobs, Log: w.path(kernelLog),
		Progress: func(line string) { w.say("kernel", "%s", line) },
	}
	if w.cell.Mode == ModeBuiltin {
		if err := w.buildWithHeaders(ctx, &options); err != nil {
			return kernel.Kernel{}, err
		}
	}
	built, err := kernel.Build(ctx, w.store, tree, options)
	if err != nil {
		return kernel.Kernel{}, fmt.Errorf("building the kernel: %w", err)
	}
	how := "built"
	switch {
	case built.Cached:
		how = "from the cache"
	case w.cell.Spec.Prebuilt():
		how = "fetched"
	}
	w.say("kernel", "%s (%s)", built.Release, how)
	w.out.Release = built.Release
	return built, w.artifact("kernel", built.Image)
}

// findDrivers reads those of the kernel's own modules without which the guest
// cannot report.
func (w *work) findDrivers(built kernel.Kernel) ([]kmod.Driver, error) {
	if built.Modules == "" {
		return nil, nil
	}
	drivers, err := kmod.Drivers(built.Modules, qemu.Drivers()...)
	if err != nil {
		return nil, fmt.Errorf("looking for the guest's drivers: %w", err)
	}
	var names []string
	for _, d := range drivers {
		names = append(names, d.Name)
	}
	w.say("drivers", "%s", cmp.Or(strings.Join(names, ", "), "built in"))
	return drivers, nil
}

// archiveFile is a packed archive.
type archiveFile struct {
	Path   string
	SHA256 string
	Size   int64
}

// packHeaders packs the kernel's headers, or takes them from the cache.
func (w *work) packHeaders(ctx context.Context, built kernel.Kernel) (archiveFile, error) {
	defer w.stage("headers", time.Now())
	options := headers.Options{
		Source: built.SourceDir, Build: built.Dir, Target: w.cell.Target, Compressor: w.Compressor,
	}
	key, err := headers.Key(ctx, options)
	if err != nil {
		return archiveFile{}, fmt.Errorf("packing the headers: %w", err)
	}
	entry, err := w.store.Get(ctx, "headers", cache.KeyOf(built.Key, key), func(ctx context.Context, dir string) ([]string, error) {
		w.say("headers", "packing")
		options.Output = filepath.Join(dir, source.ArchiveName)
		if _, err := headers.Pack(ctx, options); err != nil {
			return nil, err
		}
		return []string{source.ArchiveName}, checkArchive(ctx, options.Output, built.Release)
	})
	if err != nil {
		return archiveFile{}, fmt.Errorf("packing the headers: %w", err)
	}
	file := archiveFile{Path: entry.Path(source.ArchiveName)}
	digest, err := cache.Digest(file.Path)
	if err != nil {
		return archiveFile{}, fmt.Errorf("reading the archive: %w", err)
	}
	file.Size, file.SHA256 = digest.Size, digest.SHA256
	w.say("headers", "%d bytes, sha256 %.12s…", file.Size, file.SHA256)
	w.out.Digests.Host = file.SHA256
	return file, w.artifact("headers", file.Path)
}

// compileBPF compiles a BPF program against the archive, if one is asked for.
func (w *work) compileBPF(ctx context.Context, built kernel.Kernel, packed archiveFile) (string, error) {
	if !w.BPF {
		return "", nil
	}
	defer w.stage("bpf", time.Now())
	missing, err := built.Missing(bpf.Needed...)
	if err != nil {
		return "", err
	}
	if len(missing) > 0 {
		return "", hint.New(&buildError{fmt.Errorf("a BPF program cannot look into this kernel: it is built without %s", strings.Join(missing, ", "))},
			"leave --bpf out, or use --profile clang or a distribution's kernel")
	}
	key, err := bpf.Key(ctx, w.cell.Target)
	if err != nil {
		return "", err
	}
	entry, err := w.store.Get(ctx, "bpf", cache.KeyOf(key, packed.SHA256), func(ctx context.Context, dir string) ([]string, error) {
		w.say("bpf", "compiling")
		return []string{bpf.ObjectName}, bpf.Compile(ctx, packed.Path, w.cell.Target, dir, w.path(bpfLog))
	})
	if _, failed := errors.AsType[*run.Error](err); failed {
		err = &buildError{err}
	}
	if err != nil {
		return "", err
	}
	path := entry.Path(bpf.ObjectName)
	w.say("bpf", "a program is compiled against the headers")
	return path, w.artifact("bpf", path)
}

// moduleFiles are the module and what the guest tests need besides it.
type moduleFiles struct {
	kernel kmod.Kernel
	dir    string
}

// path returns the path of one of the files that kmod.Build made.
func (m moduleFiles) path(name string) string { return filepath.Join(m.dir, name) }

// buildModule renders, builds and inspects kheaders.ko. The inspection is
// repeated for a module from the cache: nothing is booted unseen.
func (w *work) buildModule(ctx context.Context, built kernel.Kernel, packed archiveFile) (moduleFiles, error) {
	defer w.stage("module", time.Now())
	files, err := w.moduleSource(built, packed)
	if err != nil {
		return moduleFiles{}, fmt.Errorf("rendering the module: %w", err)
	}
	loader, err := kmod.Examine(built.Dir)
	if err != nil {
		return moduleFiles{}, &buildError{fmt.Errorf("building the module: %w", err)}
	}
	certificate, err := loader.Certificate()
	if err != nil {
		return moduleFiles{}, err
	}
	parts := []string{built.Key, packed.SHA256, certificate, w.cell.Mode}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		parts = append(parts, name, string(files[name]))
	}
	entry, err := w.store.Get(ctx, "module", cache.KeyOf(parts...), func(ctx context.Context, dir string) ([]string, error) {
		w.say("module", "building %s", kmod.ModuleFile)
		options := kmod.BuildOptions{Target: w.cell.Target, Dir: dir, Log: w.path(moduleLog), Jobs: w.Jobs}
		if w.cell.Mode == ModeDKMS {
			return loader.Files(), w.buildDKMS(ctx, loader, files, options)
		}
		if err := fillModule(dir, files, packed.Path); err != nil {
			return nil, err
		}
		err := kmod.Build(ctx, loader, options)
		if _, failed := errors.AsType[*run.Error](err); failed {
			err = kernel.ExplainMake(err, w.path(moduleLog))
		}
		return loader.Files(), err
	})
	if _, missing := errors.AsType[*run.NotFoundError](err); err != nil && !missing {
		return moduleFiles{}, &buildError{fmt.Errorf("building the module: %w", err)}
	}
	if err != nil {
		return moduleFiles{}, err
	}
	made := moduleFiles{kernel: loader, dir: entry.Dir}
	path := made.path(kmod.ModuleFile)
	info, err := kmod.Inspect(path)
	if err == nil {
		err = info.Check(kmod.Want{Target: w.cell.Target, Release: built.Release, SHA256: packed.SHA256, Signed: loader.Signed})
	}
	if err != nil {
		return moduleFiles{}, &buildError{fmt.Errorf("inspecting %s: %w", path, err)}
	}
	w.say("module", "%s for %s, archive as on the host", kmod.ModuleFile, info.Release())
	w.out.Digests.Module = info.SHA256
	return made, w.artifact("module", path)
}

// moduleSource returns the files of the module's directory.
func (w *work) moduleSource(built kernel.Kernel, packed archiveFile) (map[string][]byte, error) {
	if w.cell.Mode == ModeDKMS {
		return source.DKMS(headers.XZCommand())
	}
	return source.Render(source.Archive{SHA256: packed.SHA256, Size: packed.Size, Release: built.Release, SrcArch: w.cell.Target.SrcArch})
}

// guestPrograms are what goes into the initramfs besides the module.
type guestPrograms struct {
	guest.Programs
	// Base is u-root's image.
	Base string
}

// compileGuest compiles the guest's programs.
func (w *work) compileGuest(ctx context.Context) (guestPrograms, error) {
	defer w.stage("guest", time.Now())
	b := w.guest
	b.Log = w.path(guestLog)
	base, err := b.Base(ctx, w.cell.Target)
	if err != nil {
		return guestPrograms{}, err
	}
	programs, err := b.Programs(ctx, w.cell.Target, w.Tests, w.dir)
	if err != nil {
		return guestPrograms{}, err
	}
	return guestPrograms{programs, base}, nil
}

// chooseAccel finds the accelerator.
func (w *work) chooseAccel(ctx context.Context) (qemu.Choice, error) {
	choice, err := w.prober.Choose(ctx, w.cell.Target, w.Accel)
	if err != nil {
		return qemu.Choice{}, err
	}
	w.out.Accel, w.out.AccelWhy = string(choice.Accel), choice.Why
	return choice, nil
}

// slowdown is the factor by which this boot's deadlines are stretched.
func (b *Boot) slowdown() float64 {
	factor := 1.0
	if b.accel.Accel == qemu.TCG {
		factor = b.work.cell.Target.Slowdown
	}
	if b.work.Thorough {
		factor *= 3 // decoding the whole archive is most of such a run
	}
	if b.built.Instrumented {
		factor *= 4 // KASAN, lockdep and their like; twice to four times was measured
	}
	return factor
}

// initramfs writes the image that is booted.
func (b *Boot) initramfs(plan wire.Plan) (string, error) {
	defer b.work.stage("initramfs", time.Now())
	path := b.work.path("initramfs.cpio")
	more := b.variants(&plan.Expect)
	for _, d := range b.drivers {
		more = append(more, initramfs.File{Path: driverPath(d), Mode: 0o644, Data: d.Data})
	}
	if err := writeInitramfs(path, b.programs, b.Module, plan, more...); err != nil {
		return "", err
	}
	return path, b.work.artifact("initramfs", path)
}

// variants are what the guest tests need on this kernel besides kheaders.ko. They are named in what the guest is to expect.
func (b *Boot) variants(expect *wire.Expect) []initramfs.File {
	expect.SysfsTaken = b.sysfsTaken
	var files []initramfs.File
	add := func(guest *string, name, path string) {
		name = filepath.Join(filepath.Dir(initramfs.ModulePath), name)
		*guest = "/" + name
		files = append(files, initramfs.File{Path: name, Mode: 0o644, Source: path})
	}
	if b.OwnModule != "" {
		add(&expect.OwnModule, "own.ko", b.OwnModule)
	}
	if b.bpf != "" {
		add(&expect.BPF, bpf.ObjectName, b.bpf)
	}
	if b.made.kernel.Signed {
		add(&expect.Unsigned, kmod.UnsignedFile, b.made.path(kmod.UnsignedFile))
	}
	if name := b.made.kernel.CompressedFile(); name != "" {
		add(&expect.Compressed, name, b.made.path(name))
	}
	return files
}

// plan tells the guest what to do and what to expect.
func (b *Boot) plan() wire.Plan {
	w := b.work
	p := testPlan(w.cell.Target, b.archive.SHA256, b.archive.Size, b.built.Release)
	p.Expect.Thorough, p.Expect.Version = w.Thorough, b.built.Version
	if w.cell.Mode == ModeBuiltin {
		p.Expect.Module = ""
	}
	for _, d := range b.drivers {
		p.Drivers = append(p.Drivers, "/"+driverPath(d))
	}
	for _, a := range w.Allow {
		p.Expect.Allowed = append(p.Expect.Allowed, a.Text)
	}
	// The guest gives up a little before we do, so that it can say where.
	early := 0.8 * b.slowdown()
	p.DeadlineSeconds = early * w.Deadline.Seconds()
	p.TestDeadlineSeconds = early * min(w.TestDeadline, w.Silence).Seconds()
	return p
}

// testPlan has the guest run its tests on a loadable module.
func testPlan(t target.Target, sha256 string, size int64, release string) wire.Plan {
	return wire.Plan{
		Version:         wire.Version,
		TestBinary:      "/" + initramfs.TestPath,
		DeadlineSeconds: DefaultDeadline.Seconds() * t.Slowdown, TestDeadlineSeconds: DefaultTestDeadline.Seconds() * t.Slowdown,
		Expect: wire.Expect{
			Module: "/" + initramfs.ModulePath, SHA256: sha256, Size: size, Release: release, Arch: t.Name,
		},
	}
}

// driverPath is where a driver lies in the guest.
func driverPath(d kmod.Driver) string { return initramfs.DriversPath + "/" + d.Name + ".ko" }

// writeInitramfs writes u-root's image with our files behind it.
func writeInitramfs(path string, programs guestPrograms, module string, plan wire.Plan, more ...initramfs.File) error {
	text, err := json.MarshalIndent(plan, "", "\t")
	if err != nil {
		return err
	}
	files := append(more,
		initramfs.File{Path: initramfs.TestPath, Mode: 0o755, Source: programs.Tests},
		initramfs.File{Path: strings.TrimPrefix(wire.PlanPath, "/"), Mode: 0o644, Data: text},
	)
	if module != "" {
		files = append(files, initramfs.File{Path: initramfs.ModulePath, Mode: 0o644, Source: module})
	}
	err = writeFile(path, func(out io.Writer) error { return initramfs.Write(out, programs.Base, files) })
	if err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	return nil
}

// machine describes the virtual machine.
func (b *Boot) machine(image string) qemu.Machine {
	return qemu.Machine{
		Target: b.work.cell.Target, Accel: b.accel.Accel, Kernel: b.Kernel, Initramfs: image,
		MemoryMiB: memoryMiB, TicksKHz: b.ticksKHz, KernelArgs: b.work.KernelArgs,
	}
}

// boot runs the machine and gathers the evidence. Everything that the guest
// says is kept in files as it arrives.
func (b *Boot) boot(parent context.Context, image string) (_ verdict.Evidence, err error) {
	w := b.work
	if err := w.boots.Acquire(parent, 1); err != nil {
		return verdict.Evidence{}, context.Cause(parent)
	}
	defer w.boots.Release(1)
	files := map[string]*os.File{}
	for _, name := range []string{consoleLog, timesLog, eventsLog, qemuLog} {
		f, err := os.Create(w.path(name))
		if err != nil {
			return verdict.Evidence{}, fmt.Errorf("keeping what the guest says: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		files[name] = f
	}
	console, times, events, logFile := files[consoleLog], files[timesLog], files[eventsLog], files[qemuLog]

	machine := b.machine(image)
	if w.Keep {
		if machine.Kernel, err = b.keep(); err != nil {
			return verdict.Evidence{}, fmt.Errorf("keeping what is booted: %w", err)
		}
	}
	argv, err := machine.Command(w.path("console.again.log"), w.path("events.again.jsonl"))
	if err != nil {
		return verdict.Evidence{}, err
	}
	w.out.QEMU = run.Quote(argv)
	w.say("boot", "%s: %s", b.accel.Accel, b.accel.Why)

	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	factor := b.slowdown()
	limit := func(d time.Duration) time.Duration { return time.Duration(float64(d) * factor) }
	silence, deadline, perTest := limit(w.Silence), limit(w.Deadline), limit(w.TestDeadline)
	slow := time.AfterFunc(perTest, func() { cancel(errSlowTest) })
	slow.Stop() // until a test starts
	defer slow.Stop()
	running := ""

	scanner := verdict.NewScanner(w.Allow)
	recorder := verdict.NewRecorder()
	decoder := verdict.NewDecoder(func(line verdict.Line) {
		ended := recorder.Add(line)
		scanner.SetTest(recorder.Current())
		if now := recorder.Running(); now != running {
			running = now
			if slow.Stop(); now != "" {
				slow.Reset(perTest)
			}
		}
		if ended != nil {
			w.say("test", "%s", report.Progress(*ended))
		}
	})
	log := &head{file: logFile}
	start := time.Now()
	exit, runErr := machine.Run(ctx, qemu.Watch{
		Console: io.MultiWriter(console, &stamper{out: times, start: start}, scanner),
		Events:  io.MultiWriter(&bounded{out: events, room: verdict.MaxEvents}, decoder),
		Log:     log,
		Silence: silence, Deadline: deadline,
	})
	w.out.BootSeconds = time.Since(start).Seconds()
	w.stage("boot", start)
	if runErr != nil {
		return verdict.Evidence{}, runErr
	}
	if err := decoder.Close(); err != nil {
		return verdict.Evidence{}, err
	}
	evidence := verdict.Evidence{
		Declared: b.programs.Declared, SHA256: b.archive.SHA256,
		Record: recorder.Record(), Console: scanner.Console(),
		Exit: verdict.Exit{Code: exit.Code, Signal: exit.Signal, Stderr: log.text.String()},
	}
	x := &evidence.Exit
	switch {
	case exit.Killed == nil:
	case errors.Is(exit.Killed, qemu.ErrSilence):
		x.Killed, x.LimitSeconds = verdict.KilledSilent, silence.Seconds()
	case errors.Is(exit.Killed, qemu.ErrDeadline):
		x.Killed, x.LimitSeconds = verdict.KilledDeadline, deadline.Seconds()
	case errors.Is(exit.Killed, errSlowTest):
		x.Killed, x.LimitSeconds = verdict.KilledTest, perTest.Seconds()
	case errors.Is(exit.Killed, errFlood):
		x.Killed = verdict.KilledFlood
	case parent.Err() != nil:
		x.Killed, x.Err = verdict.KilledInterrupt, exit.Killed
	default:
		x.Err = exit.Killed
		w.out.Hint = hint.Of(Advise(exit.Killed, w.cell.Target))
	}
	return evidence, nil
}

// annotate adds the source lines to what the kernel has reported, where there is
// debug information, and tells whether it has added any.
func (b *Boot) annotate(findings []verdict.Finding) (annotated bool) {
	paths := map[string]string{"": filepath.Join(b.built.Dir, "vmlinux")}
	if b.OwnModule == "" { // which has the same name
		paths[source.ModuleName] = b.Module
	}
	objects := map[string]*symbol.Object{}
	open := func(module string) *symbol.Object {
		path := paths[module]
		if _, tried := objects[module]; tried || path == "" {
			return objects[module]
		}
		object, err := symbol.Open(path, b.built.SourceDir, b.made.dir)
		if err != nil && !errors.Is(err, symbol.ErrNoLines) && !errors.Is(err, os.ErrNotExist) {
			b.work.say("symbols", "no source lines: %v", err)
		}
		objects[module] = object
		return object
	}
	for i := range findings {
		findings[i].Annotated = symbol.Annotate(findings[i].Lines, open)
		annotated = annotated || findings[i].Annotated != nil
	}
	return annotated
}

// keep copies what is booted, and what it was made from, into the results, next
// to the initramfs and the test binary, which are there in any case. It returns
// the kernel's new path.
func (b *Boot) keep() (kernel string, err error) {
	dir := b.work.path("kept")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	kernel = filepath.Join(dir, filepath.Base(b.Kernel))
	for to, from := range map[string]string{
		kernel: b.Kernel,
		filepath.Join(dir, filepath.Base(b.Module)): b.Module,
		filepath.Join(dir, source.ArchiveName):      b.archive.Path,
		filepath.Join(dir, "config"):                b.built.Config,
	} {
		if err := copyFile(to, from); err != nil {
			return "", err
		}
	}
	return kernel, nil
}

// artifact lists a file with its size and digest in the report.
func (w *work) artifact(name, path string) error {
	digest, err := cache.Digest(path)
	if err != nil {
		return fmt.Errorf("digesting the %s: %w", name, err)
	}
	w.timing.Lock()
	defer w.timing.Unlock()
	w.out.AddArtifact(name, path, digest.Size, digest.SHA256)
	return nil
}

// writeFile writes a file whole or not at all.
func writeFile(path string, write func(io.Writer) error) (err error) {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Cleanup()) }()
	if err := write(f); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

// copyFile copies a file.
func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return writeFile(to, func(out io.Writer) error {
		_, err := io.Copy(out, in)
		return err
	})
}
