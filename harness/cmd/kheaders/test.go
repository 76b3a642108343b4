// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/kheaders/kheaders/harness"
	"github.com/kheaders/kheaders/harness/internal/guest"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/report"
	"github.com/kheaders/kheaders/harness/target"
)

// optionsOf declares the flags that a run and a shell have in common. Parsing
// the command line fills in the options. With a single default architecture
// there is a single cell, and no flag that selects it may be repeated.
func (c *call) optionsOf(archs ...string) *harness.Options {
	o := &harness.Options{Progress: func(line string) { fmt.Fprintln(c.stdout, line) }}
	repeatable := "; repeatable"
	if len(archs) == 1 {
		repeatable = ""
	}
	c.listFlag(&o.Kernels, "kernel", "boot this kernel; a `SPEC` is "+kernel.Forms()+repeatable)
	c.listFlag(&o.Archs, "arch", "boot this `ARCH`itecture: "+strings.Join(target.Names(), ", ")+repeatable+" (default "+strings.Join(archs, " and ")+")")
	c.listFlag(&o.Profiles, "profile", "use this kernel configuration `PROFILE`: "+strings.Join(harness.Profiles(), ", ")+repeatable+" (default "+harness.Profiles()[0]+")")
	c.listFlag(&o.Modes, "mode", "put the headers into the kernel in this `MODE`: "+strings.Join(harness.Modes(), ", ")+repeatable+" (default "+harness.Modes()[0]+")")
	c.configFlag(&o.Config)
	c.cacheFlag(&o.Cache)
	c.flags.StringVar(&o.Results, "results", filepath.Join("out", "qemu-test"), "write everything to `DIR`")
	c.flags.StringVar(&o.Accel, "accel", "auto", "run QEMU with this `ACCEL`erator: auto, kvm, tcg")
	c.flags.StringVar(&o.KVM, "kvm-device", "/dev/kvm", "the KVM device is `FILE`")
	c.flags.BoolVar(&o.BPF, "bpf", false, "make the guest load a BPF program that clang compiled against the archive")
	c.flags.IntVar(&o.Jobs, "jobs", 0, "run `N` compilers at once (default one per processor)")
	c.flags.Var((*words)(&o.KernelArgs), "append", "add `ARGS` to the kernel's command line: loglevel=8 shows the whole boot")
	c.compressorFlag(&o.Compressor)
	return o
}

// words is a flag whose argument is split into words.
type words []string

func (w *words) String() string { return strings.Join(*w, " ") }

func (w *words) Set(text string) error {
	*w = strings.Fields(text)
	return nil
}

// testFlags declares the flags about tests and reports.
func (c *call) testFlags(o *harness.Options) {
	c.flags.BoolVar(&o.Thorough, "thorough", false, "make the guest decode the whole archive, not just its start")
	c.flags.StringVar(&o.Tests, "tests", guest.Tests, "run the guest tests of this Go `PACKAGE`")
	c.flags.StringVar(&o.Allow, "allow", "", "let the kernel report what `FILE` lists, one NAME: TEXT # REASON per line")
	c.flags.BoolVar(&o.Keep, "keep", false, "keep copies of everything that is booted with the results")
	c.flags.Var((*duration)(&o.Silence), "silence", "kill a guest that prints nothing for this `TIME` under KVM; ten times that under TCG (default 6s)")
	c.flags.Var((*duration)(&o.TestDeadline), "test-deadline", "kill a guest when one test takes longer than this `TIME` under KVM; ten times that under TCG (default 10s)")
	c.flags.Var((*duration)(&o.Deadline), "deadline", "kill a guest after this `TIME` under KVM; ten times that under TCG (default 20s)")
	c.flags.BoolVar(&o.Install, "install", false, "first install what is missing, with apt")
}

// repeat returns the command line without the flags that select a cell, for the
// command that runs one again, from any directory.
func (c *call) repeat(ctx context.Context, results string) ([]string, error) {
	self, err := ourselves(ctx)
	if err != nil {
		return nil, err
	}
	argv := append(self, c.name)
	c.flags.Visit(func(f *flag.Flag) {
		value := f.Value.String()
		switch f.Name {
		case "kernel", "arch", "profile", "mode", "install", "results":
			return
		case "cache", "config", "allow", "kvm-device":
			if path, aerr := filepath.Abs(value); aerr == nil {
				value = path
			} else {
				err = aerr
			}
		}
		argv = append(argv, "--"+f.Name+"="+value)
	})
	if err == nil {
		results, err = filepath.Abs(results)
	}
	return append(argv, "--results="+results), err
}

// ourselves returns the command that starts this program from any directory. The
// one that "go run" has built is gone when we are.
func ourselves(ctx context.Context) ([]string, error) {
	parent, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", os.Getppid()))
	if err == nil && strings.TrimSpace(string(parent)) == "go" {
		repo, err := guest.FindSources(ctx)
		return []string{"go", "run", "-C", repo, "./harness/cmd/kheaders"}, err
	}
	path, err := os.Executable()
	return []string{path}, err
}

func runTest(ctx context.Context, c *call) error {
	err := test(ctx, c)
	// git bisect would take a wrong command line for a bad kernel.
	if _, judged := errors.AsType[*exitError](err); err != nil && !judged && !errors.Is(err, flag.ErrHelp) && c.bisects() {
		return &exitError{report.BisectStop, err}
	}
	return err
}

// bisects reports whether --bisect is given, even if something else cannot be
// parsed.
func (c *call) bisects() bool {
	return slices.ContainsFunc(c.argv, func(arg string) bool {
		return strings.HasPrefix(arg, "-") && strings.TrimLeft(arg, "-") == "bisect"
	})
}

func test(ctx context.Context, c *call) error {
	o := c.optionsOf(target.Names()...)
	c.testFlags(o)
	asJSON := c.flags.Bool("json", false, "print results.json instead of progress and table")
	bisect := c.flags.Bool("bisect", false, "exit as git bisect run wants: 0 good, 1 bad, 125 does not build, 128 stop")
	if _, err := c.parse(0); err != nil {
		return err
	}
	var err error
	if o.Command, err = c.repeat(ctx, o.Results); err != nil {
		return err
	}
	if *asJSON {
		o.Progress = nil
	}
	result, err := harness.Run(ctx, *o)
	if err != nil {
		return err
	}
	if *asJSON {
		err = result.JSON(c.stdout)
	} else {
		err = result.Table(c.stdout)
	}
	if err != nil {
		return err
	}
	if err := result.Explain(c.stderr); err != nil {
		return err
	}
	code := result.ExitCode()
	if *bisect {
		code = result.BisectCode()
	}
	if code != exitPass {
		return &exitError{code: code}
	}
	return nil
}

func runShell(ctx context.Context, c *call) error {
	o := c.optionsOf(target.Names()[0])
	gdb := c.flags.Bool("gdb", false, "wait for a debugger on port 1234")
	if _, err := c.parse(0); err != nil {
		return err
	}
	if len(o.Archs) == 0 {
		o.Archs = target.Names()[:1]
	}
	argv, release, err := harness.Shell(ctx, *o, *gdb)
	if err != nil {
		return err
	}
	defer release()
	// We become QEMU, so the terminal and Ctrl-C are its own.
	path, err := run.Look(argv[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, argv, run.Environment())
}
