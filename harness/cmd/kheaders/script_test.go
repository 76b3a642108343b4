// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/tests/replay"
)

var update = flag.Bool("update", false, "rewrite what the scripts compare with")

func TestMain(m *testing.M) {
	// The fakes are this binary under other names. Unlike kheaders, they are
	// links in a script's own directory, so that the script can remove them.
	if program := fakes()[filepath.Base(os.Args[0])]; program != nil {
		program()
	}
	testscript.Main(m, map[string]func(){"kheaders": main})
}

// fakes are the programs of package replay.
func fakes() map[string]func() {
	var emulators []string
	for _, t := range target.All() {
		emulators = append(emulators, t.QEMU)
	}
	return replay.Programs(emulators...)
}

// TestScripts runs the scripts in tests/script, which specify the command line.
func TestScripts(t *testing.T) {
	// Whoever runs us may ignore it, as nohup(1) does, and then the scripts would.
	// What we handle instead is back to its default in the programs that we start.
	if signal.Ignored(syscall.SIGHUP) {
		hangups := make(chan os.Signal, 1)
		signal.Notify(hangups, syscall.SIGHUP)
		t.Cleanup(func() { signal.Ignore(syscall.SIGHUP) })
	}
	tree, err := filepath.Abs("../../../tests/fakelinux")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "../../../tests/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup:               func(env *testscript.Env) error { return setup(env, tree) },
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "fails": fails},
	})
}

// genuine are the programs that the toy kernel tree and the fakes need.
var genuine = []string{
	"awk", "basename", "cat", "chmod", "cp", "date", "diff", "dirname", "env", "false", "git", "grep", "gzip", "head", "ln", "ls", "make", "mkdir", "mv", "patch",
	"printf", "rm", "sed", "setpriv", "sh", "sleep", "tail", "tar", "timeout", "touch", "true", "uname", "wc", "xz",
}

// switches are what scripts tell fakes through the environment.
var switches = []string{
	"GOCOVERDIR", // of the fakes, when coverage is measured

	"WORK", "GORACE", replay.DirVariable, "GOFAIL", "FAIL", "HANG", "LOSE", "PACK", "MARK", "KHEADERS_MARK", "SLOW",
	"KEY", "UNSIGNED", "COMMENTS", "DEBIAN", "OFFLINE", "BROKEN", "FAIL_CLANG",
}

// sources are the sources of kheaders that guests are built from.
var sources = map[string]string{
	"go.sum":                    "",
	"initramfs/agent/main.go":   "package main\n",
	"tests/guest/guest_test.go": "package guest\n\nfunc TestProc(*testing.T)  {}\nfunc TestSysfs(*testing.T) {}\n",
}

// setup makes a script's world. $WORK/linux is a copy of the toy kernel tree.
// PATH has only $WORK/tools and kheaders. If the script has a go.mod, $WORK is
// a clone of kheaders.
func setup(env *testscript.Env, tree string) error {
	if err := os.CopyFS(filepath.Join(env.WorkDir, "linux"), os.DirFS(tree)); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(env.WorkDir, "go.mod")); err == nil {
		for name, text := range sources {
			if err := write(filepath.Join(env.WorkDir, name), text); err != nil {
				return err
			}
		}
	}
	tools := filepath.Join(env.WorkDir, "tools")
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return err
	}
	for _, name := range genuine {
		path, err := exec.LookPath(name)
		if err != nil {
			return err
		}
		if err := os.Symlink(path, filepath.Join(tools, name)); err != nil {
			return err
		}
	}
	mute := []string{"bc", "bison", "cpio", "flex", "gcc", "ld", "openssl", "perl"}
	for _, a := range target.All() {
		mute = append(mute, a.CrossPrefix+"gcc", a.CrossPrefix+"ld")
		if a.Native() {
			env.Setenv("NATIVE", a.Name)
		}
	}
	for _, name := range append(mute, "apt-get") {
		if _, err := os.Stat(filepath.Join(tools, name)); err == nil {
			continue // the script brings its own
		}
		if err := fake(tools, name, `echo "`+name+` 1.0, a fake"`); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for name := range fakes() {
		if err := os.Symlink(self, filepath.Join(tools, name)); err != nil {
			return err
		}
	}
	env.Setenv(replay.DirVariable, filepath.Join(env.WorkDir, "guest"))
	bin, err := exec.LookPath("kheaders")
	if err != nil {
		return err
	}
	env.Setenv("PATH", filepath.Dir(bin)+string(filepath.ListSeparator)+tools)
	// Otherwise the race detector makes each process sleep for a second before
	// it exits.
	env.Setenv("GORACE", "atexit_sleep_ms=0")
	env.Setenv(run.KeepVariable, strings.Join(switches, " "))
	env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, "cache"))
	return nil
}

// write writes a file unless the script brings its own.
func write(path, text string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// fake writes a shell script that stands in for a program.
func fake(dir, name, text string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755)
}

// exits runs a program that must end with the given exit code:
//
//	exits CODE PROGRAM [ARG...]
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil || want == 0 {
		ts.Fatalf("%q is no exit code of a failure", args[0])
	}
	err = ts.Exec(args[1], args[2:]...)
	exit := (*exec.ExitError)(nil)
	switch {
	case err == nil:
		ts.Fatalf("it succeeded")
	case !errors.As(err, &exit):
		ts.Fatalf("it did not run: %v", err)
	case exit.ExitCode() != want:
		ts.Fatalf("the exit code is %d, not %d", exit.ExitCode(), want)
	}
}

// fails runs a program that must fail as promised:
//
//	fails CODE PROGRAM [ARG...]
//
// It checks the exit code, and that stderr has one error line and one hint
// line, neither of them empty.
func fails(ts *testscript.TestScript, neg bool, args []string) {
	exits(ts, neg, args)
	count := map[string]int{}
	for line := range strings.Lines(ts.ReadFile("stderr")) {
		for _, kind := range []string{"error: ", "hint: "} {
			if text, ok := strings.CutPrefix(line, kind); ok && strings.TrimSpace(text) != "" {
				count[kind]++
			}
		}
	}
	if count["error: "] != 1 || count["hint: "] != 1 {
		ts.Fatalf("stderr has %d errors and %d hints, not one of each", count["error: "], count["hint: "])
	}
}
