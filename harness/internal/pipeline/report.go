// SPDX-License-Identifier: BSD-3-Clause

package pipeline

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/qemu"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/internal/stage"
	"github.com/kheaders/kheaders/harness/report"
	"github.com/kheaders/kheaders/harness/verdict"
)

// report puts a cell's report together from what its stages returned and from
// the error, if any, that kept it from being judged.
func (c *cell) report(ctx context.Context, m made, err error) report.Cell {
	out := report.Cell{
		Arch: c.of.Target.Name, Kernel: c.of.Spec.String(), Profile: c.of.Profile, Mode: c.of.Mode.Name,
		Release: m.kernel.Release,
		Accel:   string(m.accel.Accel), AccelWhy: m.accel.Why,
		Stages: c.times, BootSeconds: m.booted.Seconds, QEMU: c.again(m),
		Digests: report.Digests{Host: m.archive.SHA256},
		Dir:     c.dir, Repeat: run.Quote(c.repeat()),
	}
	if m.carrier.Module.Path != "" {
		out.Digests.Module = m.carrier.Embedded
	} else {
		out.Digests.Kernel = m.carrier.Embedded
	}
	for _, a := range []struct {
		name string
		file stage.File
	}{
		{"kernel", m.kernel.Image},
		{"headers", m.archive},
		{"bpf", m.program},
		{"module", m.carrier.Module},
		{"initramfs", m.image},
	} {
		if a.file.Path != "" {
			out.AddArtifact(a.name, a.file.Path, a.file.Size, a.file.SHA256)
		}
	}
	for _, name := range slices.Concat([]string{kernelLog, bpfLog, moduleLog, guestLog}, stage.BootLogs()) {
		if _, err := os.Stat(c.path(name)); err == nil {
			out.AddLog(c.path(name))
		}
	}
	if err != nil {
		c.failed(ctx, &out, err)
		return out
	}
	out.SetResult(m.result)
	if err := m.booted.Exit.Err; err != nil && m.booted.Exit.Killed == "" {
		out.Hint = hint.Of(Advise(err, c.of.Target, c.places()...))
	}
	out.Hint = cmp.Or(out.Hint, c.lookInto(m))
	return out
}

// failed gives a cell the verdict that follows from an error.
func (c *cell) failed(ctx context.Context, out *report.Cell, err error) {
	err = Advise(err, c.of.Target, c.places()...)
	v := verdict.InfraError
	if failedBuild(err) && ctx.Err() == nil {
		v = verdict.BuildFailed
	}
	out.SetResult(verdict.Failed(v, err))
	out.Hint = hint.Of(err)
	if build, ok := errors.AsType[*kernel.BuildError](err); ok {
		out.Lines = build.Lines
	} else if program, ok := errors.AsType[*run.Error](err); ok {
		out.Lines = program.Tail[max(0, len(program.Tail)-10):]
	}
}

// lookInto returns a hint on how to look into a verdict, or nothing.
func (c *cell) lookInto(m made) string {
	annotated := slices.ContainsFunc(m.result.Findings, func(f verdict.Finding) bool { return f.Annotated != nil })
	switch v := m.result.Verdict; {
	case v == verdict.BootHang && m.accel.Accel == qemu.KVM:
		return "--accel tcg boots it without KVM, which tells whether that is to blame"
	case (v == verdict.KernelSplat || v == verdict.KernelPanic) && !annotated && c.of.Profile == kernel.DefaultProfile && c.of.Spec.Configurable():
		return "--profile debug builds a kernel that says in which source lines, and finds more (KASAN, lockdep, kmemleak)"
	}
	return ""
}

// repeat returns the command that runs the cell again.
func (c *cell) repeat() []string {
	return slices.Concat(c.Command, []string{
		"--kernel", c.of.Spec.Anywhere(), "--arch", c.of.Target.Name, "--profile", c.of.Profile, "--mode", c.of.Mode.Name,
	})
}

// again returns the command that boots the cell again by hand, or nothing if
// there is nothing to boot yet.
func (c *cell) again(m made) string {
	if m.image.Path == "" {
		return ""
	}
	argv, err := c.bootMachine(m).Command(c.path("console.again.log"), c.path("events.again.jsonl"))
	if err != nil {
		return "" // Boot fails for the same reason, and says so
	}
	return run.Quote(argv)
}
