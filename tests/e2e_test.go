// SPDX-License-Identifier: BSD-3-Clause

// Package tests runs kheaders like its users do: real kernels in real QEMU. The
// first run builds what is not in the cache.
package tests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kheaders/kheaders/harness/report"
	"github.com/kheaders/kheaders/harness/rig"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
	"github.com/kheaders/kheaders/initramfs/wire"
)

// kheaders is the program under test, built by TestMain.
var kheaders string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "kheaders-e2e-*")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		kheaders = filepath.Join(dir, "kheaders")
		build := exec.Command("go", "build", "-o", kheaders, "../harness/cmd/kheaders")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "building kheaders:", err)
			return 1
		}
		return m.Run()
	}())
}

// outcome is the result of running the command.
type outcome struct {
	code   int
	output string
	run    report.Run
}

// command prepares "kheaders test" with its results in dir.
func command(dir string, args ...string) *exec.Cmd {
	return exec.Command(kheaders, slices.Concat([]string{"test", "--results", dir}, args)...)
}

// finish collects the outcome of a command that ended with err.
func finish(t *testing.T, dir, output string, err error) outcome {
	t.Helper()
	out := outcome{output: output}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		out.code = exit.ExitCode()
	} else if err != nil {
		t.Fatalf("running kheaders: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatalf("%v; it printed:\n%s", err, output)
	}
	if err := json.Unmarshal(text, &out.run); err != nil {
		t.Fatalf("results.json: %v", err)
	}
	return out
}

// test runs "kheaders test" until it ends.
func test(t *testing.T, args ...string) outcome {
	t.Helper()
	dir := t.TempDir()
	output, err := command(dir, args...).CombinedOutput()
	out := finish(t, dir, string(output), err)
	nothingLeft(t, dir)
	return out
}

// nothingLeft checks that no process is left with the results directory in its
// command line. QEMU's has the initramfs there.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if left = processes(t, dir); len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("still running: %s", strings.Join(left, "; "))
			return
		}
	}
}

// processes returns the command lines that name dir.
func processes(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no processes to look at: %v", err)
	}
	var found []string
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err == nil && bytes.Contains(text, []byte(dir)) {
			found = append(found, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return found
}

// TestDebian612 runs a kernel on every architecture, twice, and looks at the
// report instead of trusting the exit code. It builds the kernels of the timed
// tests, so it runs before the parallel ones. 6.1 is in TestOlderSeries
// and TestDebianImage61.
func TestDebian612(t *testing.T) {
	const spec, version = "debian:6.12", "6.12."
	first := test(t, "--kernel", spec)
	if first.code != 0 {
		t.Fatalf("exit code %d, want 0; it printed:\n%s", first.code, first.output)
	}
	var archs []string
	for _, cell := range first.run.Cells {
		archs = append(archs, cell.Arch)
		if cell.Verdict != verdict.Pass {
			t.Errorf("%s: verdict %s: %s", cell.Arch, cell.Verdict, cell.Reason)
		}
		if !strings.HasPrefix(cell.Release, version) {
			t.Errorf("%s: release %s, want %s…", cell.Arch, cell.Release, version)
		}
		d := cell.Digests
		if len(d.Host) != 64 || d.Host != d.Module || d.Host != d.Guest {
			t.Errorf("%s: the archive's digests differ or are missing: %+v", cell.Arch, d)
		}
		if len(cell.Tests) < 20 {
			t.Errorf("%s: only %d tests reported", cell.Arch, len(cell.Tests))
		}
	}
	if want := target.Names(); !slices.Equal(archs, want) {
		t.Errorf("cells for %v, want %v", archs, want)
	}

	start := time.Now()
	second := test(t, "--kernel", spec)
	t.Logf("second run: %v", time.Since(start).Round(time.Millisecond))
	if second.code != 0 {
		t.Errorf("second run: exit code %d; it printed:\n%s", second.code, second.output)
	}
	if strings.Contains(second.output, "make -C") || strings.Count(second.output, "(from the cache)") != len(archs) {
		t.Errorf("the second run built a kernel; it printed:\n%s", second.output)
	}
	for i, cell := range second.run.Cells {
		if first.run.Cells[i].Digests != cell.Digests {
			t.Errorf("%s: the second run has other digests", cell.Arch)
		}
	}
}

// fault returns the package of a broken guest test binary.
func fault(name string) string { return rig.Module + "/tests/faults/" + name }

// begin starts a run whose guest hangs, and waits until the guest has started
// its test.
func begin(t *testing.T, dir string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	var output bytes.Buffer
	cmd := command(dir, "--arch", target.Quickest().Name, "--tests", fault("hang"), "--silence", "1m", "--deadline", "1m")
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		logs, err := filepath.Glob(filepath.Join(dir, "*", "events.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		for _, log := range logs {
			if text, err := os.ReadFile(log); err == nil && bytes.Contains(text, []byte(`"kind":"`+string(wire.KindStart)+`"`)) {
				if len(processes(t, dir)) < 2 { // us and QEMU
					t.Fatal("the guest reports, and there is no QEMU")
				}
				return cmd, &output
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the guest never began its test")
		}
	}
}

// TestShell types commands into the guest's shell, as a person would.
func TestShell(t *testing.T) {
	for _, arch := range target.Names() {
		t.Run(arch, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command(kheaders, "shell", "--arch", arch, "--results", dir)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			stop := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
			defer stop.Stop()
			var seen []byte
			// await reads up to a text and returns what came before it.
			await := func(text string) string {
				t.Helper()
				buf := make([]byte, 4096)
				for {
					if before, after, ok := bytes.Cut(seen, []byte(text)); ok {
						seen = after
						return string(before)
					}
					n, err := out.Read(buf)
					seen = append(seen, buf[:n]...)
					if err != nil {
						t.Fatalf("no %q: %v; there was:\n%s", text, err, seen)
					}
				}
			}
			await("$ ")
			for _, step := range []struct{ command, want string }{
				{"insmod /kheaders/kheaders.ko", ""},
				{"ls -l /proc/kheaders.tar.xz", "-r--r--r-- root"},
				{"xzcat /proc/kheaders.tar.xz | head -n 3", "./arch/"},
				{"rmmod kheaders", ""},
			} {
				if _, err := fmt.Fprintf(in, "%s\r", step.command); err != nil {
					t.Fatal(err)
				}
				if got := await("$ "); !strings.Contains(got, step.want) {
					t.Errorf("%s: %q, want %q in it", step.command, got, step.want)
				}
			}
			if _, err := fmt.Fprint(in, "exit\r"); err != nil {
				t.Fatal(err)
			}
			await("Restarting system")
			if err := cmd.Wait(); err != nil {
				t.Errorf("the shell ended with %v", err)
			}
			nothingLeft(t, dir)
		})
	}
}

func TestInterrupt(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			dir := t.TempDir()
			cmd, output := begin(t, dir)
			start := time.Now()
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			err := cmd.Wait()
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("it took %v to end", took)
			}
			out := finish(t, dir, output.String(), err)
			if out.code != 3 || len(out.run.Cells) != 1 || out.run.Cells[0].Verdict != verdict.InfraError ||
				!strings.Contains(out.run.Cells[0].Reason, "interrupted") {
				t.Errorf("exit code %d, cells %+v; want 3 and an infra-error that says interrupted", out.code, out.run.Cells)
			}
			nothingLeft(t, dir)
		})
	}
}

func TestKilledParent(t *testing.T) {
	dir := t.TempDir()
	cmd, _ := begin(t, dir)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("a killed process ended well")
	}
	nothingLeft(t, dir)
	if _, err := os.Stat(filepath.Join(dir, "results.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("results.json after SIGKILL: %v; want none", err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte("kheaders")) {
		t.Errorf("a mount is left:\n%s", mounts)
	}
}
