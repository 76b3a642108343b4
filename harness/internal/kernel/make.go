// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/internal/toolchain"
)

// buildVariables are fixed so that the same source gives the same kernel. An
// empty LOCALVERSION keeps git's state out of the release: it is not part of a
// tree's identity. Kconfig asks the last three programs for their versions, which
// would then be in autoconf.h where they are installed; no test kernel needs them.
var buildVariables = []string{
	"KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970",
	"KBUILD_BUILD_USER=kheaders",
	"KBUILD_BUILD_HOST=kheaders",
	"KBUILD_BUILD_VERSION=1",
	"LOCALVERSION=",
	"PAHOLE=" + nowhere, "RUSTC=" + nowhere, "BINDGEN=" + nowhere,
}

// nowhere is the path of a program that is not installed.
const nowhere = "/nonexistent"

// plainMessages makes compilers print the English messages that we look for.
// The kernel's Makefile drops LC_ALL, so that alone is not enough.
var plainMessages = []string{"LC_ALL=C", "LC_MESSAGES=C", "LANG=C", "LANGUAGE="}

// Environment variables that change what make, the compiler or kbuild produce.
// They must be unset, not emptied: an empty KCONFIG_CONFIG breaks the build.
var (
	ambientPrefixes = []string{"KBUILD_", "KCONFIG_", "CFLAGS_", "AFLAGS_", "RUSTFLAGS_", "LDFLAGS_"}
	ambientNames    = []string{
		"MAKEFLAGS", "MFLAGS", "MAKEFILES", "MAKEOVERRIDES", "MAKELEVEL", "GNUMAKEFLAGS",
		"ARCH", "SUBARCH", "SRCARCH", "CROSS_COMPILE", "CROSS_COMPILE_COMPAT", "LLVM", "LLVM_IAS",
		"CC", "LD", "AR", "AS", "NM", "OBJCOPY", "OBJDUMP", "STRIP", "READELF", "PAHOLE", "CPP",
		"HOSTCC", "HOSTCXX", "HOSTLD", "HOSTAR", "HOSTCFLAGS", "HOSTCXXFLAGS", "HOSTLDFLAGS", "HOSTLDLIBS",
		"CFLAGS", "CPPFLAGS", "LDFLAGS", "KCFLAGS", "KCPPFLAGS", "KAFLAGS", "KRUSTFLAGS", "USERCFLAGS", "USERLDFLAGS",
		"CPATH", "C_INCLUDE_PATH", "COMPILER_PATH", "LIBRARY_PATH", "GCC_EXEC_PREFIX", "GCC_COMPARE_DEBUG",
		"DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES",
		"LOCALVERSION", "SOURCE_DATE_EPOCH", "TZ", "V", "W", "C", "CF", "M", "O", "MO", "EXTRA_CFLAGS",
		"INSTALL_PATH", "INSTALL_MOD_PATH", "INSTALL_HDR_PATH", "INSTALL_DTBS_PATH",
	}
)

// ambient returns the names of the variables in an environment that must not
// reach the build.
func ambient(environ []string) []string {
	var names []string
	for _, v := range environ {
		name, _, _ := strings.Cut(v, "=")
		if slices.Contains(ambientNames, name) || slices.ContainsFunc(ambientPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// maker calls a kernel tree's make.
type maker struct {
	source, object string
	named          string // what people call the source
	tools          toolchain.Toolchain
	log            string
	progress       func(string)
	variables      []string // beyond buildVariables
}

// argv returns a command line that also works in a person's shell.
func (m maker) argv(args ...string) []string {
	var argv []string
	if names := ambient(os.Environ()); len(names) > 0 {
		argv = append(argv, "env")
		for _, name := range names {
			argv = append(argv, "-u", name)
		}
	}
	argv = append(argv, "make", "-C", m.source, "O="+m.object)
	argv = append(argv, m.tools.Variables()...)
	argv = append(argv, buildVariables...)
	argv = append(argv, m.variables...)
	return append(argv, args...)
}

// make runs make with the arguments. A failure is a [*BuildError].
func (m maker) make(ctx context.Context, args ...string) (err error) {
	argv := m.argv(args...)
	m.progress("running: " + run.Quote(argv))
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("opening the build's log: %w", err)
	}
	defer func() {
		if cerr := log.Close(); err == nil {
			err = cerr
		}
	}()
	start, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("opening the build's log: %w", err)
	}
	cmd := run.Cmd{
		Argv: argv, Env: plainMessages, Log: m.log,
		Stdout: &stepCounter{log: log, progress: m.progress, started: time.Now()},
	}
	err = cmd.Run(ctx)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*run.Error](err); !ok || errors.Is(e, unix.ENOSPC) {
		return err // make is not to blame, and the log may not say what is
	}
	return buildError(err, m.log, start, naming(m.source, m.named))
}

// stepInterval is how often a long build reports how far it got.
const stepInterval = 5 * time.Second

// stepCounter copies make's output to the log and counts the steps in it.
type stepCounter struct {
	log      io.Writer
	progress func(string)
	started  time.Time
	said     time.Duration
	steps    int
	midLine  bool
}

// Write counts the lines that name a step, which kbuild indents by two spaces.
func (c *stepCounter) Write(p []byte) (int, error) {
	rest := p
	for len(rest) > 0 {
		if !c.midLine && bytes.HasPrefix(rest, []byte("  ")) {
			c.steps++
		}
		_, after, whole := bytes.Cut(rest, []byte("\n"))
		c.midLine = !whole
		rest = after
	}
	if d := time.Since(c.started); d-c.said >= stepInterval {
		c.said = d
		c.progress(strconv.Itoa(c.steps) + " steps done after " + d.Round(time.Second).String())
	}
	return c.log.Write(p)
}
