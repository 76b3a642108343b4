// SPDX-License-Identifier: BSD-3-Clause

package pipeline

import (
	"context"
	"path/filepath"
	"time"

	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/mode"
	"github.com/kheaders/kheaders/harness/internal/qemu"
	"github.com/kheaders/kheaders/harness/internal/stage"
	"github.com/kheaders/kheaders/harness/report"
	"github.com/kheaders/kheaders/harness/verdict"
	"github.com/kheaders/kheaders/module/source"
)

// memoryMiB is the guest's memory. The kernel needs room for the initramfs
// twice while it unpacks it; more than that only lengthens the boot.
const memoryMiB = 256

// The logs of a cell, other than those of its boot. A stage that takes its
// result from the cache writes none.
const (
	kernelLog = "kernel.log"
	bpfLog    = "bpf.log"
	moduleLog = "module.log"
	guestLog  = "guest.log"
)

func (c *cell) guest(ctx context.Context) (stage.Programs, error) {
	defer c.timed("guest", time.Now())
	builder := c.runner.guest
	builder.Log = c.path(guestLog)
	return stage.Guest(ctx, stage.GuestInput{Builder: builder, Target: c.of.Target, Tests: c.Tests, Dir: c.dir})
}

func (c *cell) patch(ctx context.Context, source kernel.Source) (mode.Patched, error) {
	if c.of.Mode.Patch == nil {
		return mode.Patched{Source: source}, nil
	}
	defer c.timed("patch", time.Now())
	return c.of.Mode.Patch(ctx, mode.PatchInput{Store: c.store, Source: source, Target: c.of.Target, Say: c.say})
}

func (c *cell) build(ctx context.Context, patched mode.Patched) (stage.Built, error) {
	if err := c.builds.Acquire(ctx, 1); err != nil {
		return stage.Built{}, context.Cause(ctx)
	}
	defer c.builds.Release(1)
	defer c.timed("kernel", time.Now())
	return stage.Build(ctx, stage.BuildInput{
		Store: c.store, Source: patched.Source, Drivers: qemu.Drivers(c.of.Target), Say: c.say,
		Options: kernel.BuildOptions{
			Target: c.of.Target, Profile: c.of.Profile, Jobs: c.Jobs, Log: c.path(kernelLog), User: c.Configuration,
			Config: patched.Config, Variables: patched.Variables, Inputs: patched.Inputs,
		},
	})
}

func (c *cell) pack(ctx context.Context, k kernel.Kernel) (stage.File, error) {
	defer c.timed("headers", time.Now())
	return stage.Pack(ctx, stage.PackInput{Store: c.store, Kernel: k, Target: c.of.Target, Compressor: c.Compressor, Say: c.say})
}

func (c *cell) compile(ctx context.Context, k kernel.Kernel, archive stage.File) (stage.File, error) {
	if !c.BPF {
		return stage.File{}, nil
	}
	defer c.timed("bpf", time.Now())
	return stage.Program(ctx, stage.ProgramInput{
		Store: c.store, Kernel: k, Archive: archive, Target: c.of.Target, Log: c.path(bpfLog), Say: c.say,
	})
}

func (c *cell) carry(ctx context.Context, k kernel.Kernel, archive stage.File) (stage.Carrier, error) {
	defer c.timed(c.of.Mode.Step, time.Now())
	return c.of.Mode.Carry(ctx, mode.CarryInput{
		Store: c.store, Kernel: k, Archive: archive, Target: c.of.Target, Jobs: c.Jobs, Log: c.path(moduleLog), Say: c.say,
	})
}

func (c *cell) choose(ctx context.Context, kernel stage.File) (qemu.Choice, error) {
	return c.prober.Choose(ctx, c.of.Target, c.Accel, kernel.Path)
}

func (c *cell) image(m made, shell bool) (stage.File, error) {
	defer c.timed("initramfs", time.Now())
	return stage.Image(stage.ImageInput{
		Path: c.path("initramfs.cpio"), Programs: m.programs, Shell: shell,
		Contents: stage.Contents{
			Target: c.of.Target, Release: m.kernel.Release, Version: m.kernel.Version,
			Archive: m.archive, Carrier: m.carrier, Program: m.program, Drivers: m.kernel.Drivers,
			Allow: c.Allow, Thorough: c.Thorough, Limits: guestLimits(c.limits(m)),
		},
	})
}

// bootMachine is the machine that gets judged. With Keep it boots the kept
// copies, so that its command line still works when the cache is gone.
func (c *cell) bootMachine(m made) qemu.Machine {
	machine := c.machine(m, m.image.Path)
	if c.Keep {
		machine.Kernel = filepath.Join(c.path(keptDir), filepath.Base(machine.Kernel))
	}
	return machine
}

// machine describes the virtual machine that boots an image.
func (c *cell) machine(m made, image string) qemu.Machine {
	return qemu.Machine{
		Target: c.of.Target, Accel: m.accel.Accel, Kernel: m.kernel.Image.Path, Initramfs: image,
		MemoryMiB: memoryMiB, TicksKHz: m.ticksKHz, KernelArgs: c.KernelArgs,
	}
}

func (c *cell) boot(ctx context.Context, m made) (stage.Booted, error) {
	if err := c.boots.Acquire(ctx, 1); err != nil {
		return stage.Booted{}, context.Cause(ctx)
	}
	defer c.boots.Release(1)
	if c.Keep {
		if err := stage.Keep(c.path(keptDir), c.kept(m)); err != nil {
			return stage.Booted{}, err
		}
	}
	c.say("boot", "%s: %s", m.accel.Accel, m.accel.Why)
	defer c.timed("boot", time.Now())
	return stage.Boot(ctx, stage.BootInput{
		Machine: c.bootMachine(m), Limits: c.limits(m), Allow: c.Allow, Dir: c.dir,
		Ended: func(test verdict.Test) { c.say("test", "%s", report.Progress(test)) },
	})
}

// keptDir is where the results keep what was booted, except the initramfs and
// the test binary: those are kept anyway.
const keptDir = "kept"

func (c *cell) kept(m made) map[string]string {
	files := map[string]string{
		filepath.Base(m.kernel.Image.Path): m.kernel.Image.Path,
		source.ArchiveName:                 m.archive.Path,
		"config":                           m.kernel.Config,
	}
	if module := m.carrier.Module.Path; module != "" {
		files[filepath.Base(module)] = module
	}
	return files
}

func (c *cell) judge(m made) verdict.Result {
	objects := map[string]string{"": filepath.Join(m.kernel.Dir, "vmlinux")}
	if m.carrier.OwnModule == "" { // the two have the same name
		objects[source.ModuleName] = m.carrier.Module.Path
	}
	return stage.Judge(stage.JudgeInput{
		Booted: m.booted, Declared: m.programs.Declared, SHA256: m.archive.SHA256,
		Objects: objects, Roots: []string{m.kernel.SourceDir, m.carrier.Dir}, Say: c.say,
	})
}
