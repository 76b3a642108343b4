// SPDX-License-Identifier: BSD-3-Clause

// Command kheaders gives a Linux kernel its own headers as
// /proc/kheaders.tar.xz and proves that it works.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/verdict"
)

func commands() []command {
	return []command{
		{"test", "", "build, boot and verify every cell of the matrix", runTest},
		{"shell", "", "boot the same image to a shell", runShell},
		{"kernel", "", "build a test kernel, or find it in the cache", runKernel},
		{"archive", "", "pack the headers of a kernel tree", runArchive},
		{"module", "", "write a module's source around an archive", runModule},
		{"initramfs", "", "write the guest's file system around a module", runInitramfs},
		{"info", "FILE", "describe an archive", runInfo},
		{"extract", "FILE DIR", "unpack an archive", runExtract},
		{"doctor", "", "list what must be installed, and install it", runDoctor},
		{"version", "", "say which kheaders this is", runVersion},
	}
}

func main() {
	// vmtest refuses to work with a bad one, even if told otherwise.
	_ = os.Unsetenv("VMTEST_TIMEOUT")
	os.Exit(realMain(os.Args[1:], os.Stdout, os.Stderr))
}

func realMain(args []string, stdout, stderr io.Writer) int {
	ctx, in := interruptible()
	defer in.stop()
	err := dispatch(ctx, args, outlet{stdout, in.cancel}, outlet{stderr, in.cancel})
	return in.code(conclude(context.Cause(ctx), err, stderr))
}

// conclude explains an error and returns our exit code. The cause is that of an
// interruption, if there was one.
func conclude(cause, err error, stderr io.Writer) int {
	if errors.Is(cause, errUnread) {
		return 128 + int(syscall.SIGPIPE)
	}
	if cause != nil && errors.Is(err, cause) {
		// The interrupted work has nothing to add, and needs no advice.
		err = cause
	}
	if exit, ok := errors.AsType[*exitError](err); ok {
		if exit.err != nil {
			explain(stderr, exit.err)
		}
		return exit.code
	}
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitPass
	case hint.IsUsage(err):
		explain(stderr, err)
		return exitUsage
	default:
		explain(stderr, err)
		return exitHarness
	}
}

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		usage(stderr)
		return hint.Usage(errors.New("no command given"), "make qemu-test runs: kheaders test")
	}
	name, argv := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		if len(argv) == 0 {
			usage(stdout)
			return nil
		}
		name, argv = argv[0], []string{"--help"}
	case "-version", "--version":
		name = "version"
	}
	var names []string
	for _, cmd := range commands() {
		names = append(names, cmd.name)
		if cmd.name != name {
			continue
		}
		c := &call{command: cmd, flags: flag.NewFlagSet(cmd.name, flag.ContinueOnError), argv: argv, stdout: stdout, stderr: stderr}
		c.flags.SetOutput(io.Discard)
		err := cmd.run(ctx, c)
		if errors.Is(err, flag.ErrHelp) {
			c.help()
		}
		return err
	}
	return hint.Usage(fmt.Errorf("unknown command %q", name), didYouMean("kheaders ", name, names)+"kheaders help lists the commands")
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "kheaders gives a Linux kernel its own headers, and proves that it works.")
	fmt.Fprintln(w)
	for _, cmd := range commands() {
		fmt.Fprintf(w, "  kheaders %-22s %s\n", strings.TrimSpace(cmd.name+" "+cmd.args), cmd.summary)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "kheaders COMMAND --help lists a command's options.")
}

// explain prints an error: the cause, the lines that matter, the log, the
// command to run again, and what to do.
func explain(w io.Writer, err error) {
	advice := hint.Of(err)
	fmt.Fprintf(w, "error: %s\n", verdict.Printable(strings.ReplaceAll(err.Error(), "\n", "; ")))
	if failed, ok := errors.AsType[*kernel.BuildError](err); ok {
		for _, line := range failed.Lines {
			fmt.Fprintf(w, "  %s\n", verdict.Printable(line))
		}
	}
	if failed, ok := errors.AsType[*run.Error](err); ok {
		if _, picked := errors.AsType[*kernel.BuildError](err); !picked {
			for _, line := range failed.Tail[max(0, len(failed.Tail)-10):] {
				fmt.Fprintf(w, "  %s\n", verdict.Printable(line))
			}
		}
		if failed.Log != "" {
			fmt.Fprintf(w, "log: %s\n", failed.Log)
		}
		fmt.Fprintf(w, "again: %s\n", failed.Command())
		if advice == "" {
			advice = "see what " + failed.Argv[0] + " says above; the command runs by hand as well"
		}
	}
	if advice != "" {
		fmt.Fprintf(w, "hint: %s\n", advice)
	}
}
