// SPDX-License-Identifier: BSD-3-Clause

package qemu

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// broken is a stand-in for QEMU that fails under KVM in one of the ways seen.
func broken(t *testing.T, script string) target.Target {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "qemu-system-broken")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	native := slices.IndexFunc(target.All(), target.Target.Native)
	if native < 0 {
		t.Fatal("no target is of this host's architecture")
	}
	arch := target.All()[native]
	arch.QEMU = program
	return arch
}

func device(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// image returns a kernel image, as far as a stand-in for QEMU is concerned.
func image(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestChooseFallsBack(t *testing.T) {
	for _, test := range []struct{ name, script, why string }{
		{"QEMU aborts", `echo "qemu: error: failed to set MSR 0x10a" >&2; exit 1`, "QEMU ended with code 1 under KVM: qemu: error: failed to set MSR 0x10a"},
		{"the guest spins", `exec sleep 60`, "the kernel did not come up within 300ms under KVM"},
		{"KVM gives up", `echo "KVM internal error. Suberror: 1"; exec sleep 60`, "the kernel did not come up within 300ms under KVM: KVM internal error. Suberror: 1"},
		{"QEMU ends without a word", `exit 0`, "QEMU ended with code 0 under KVM"},
	} {
		t.Run(test.name, func(t *testing.T) {
			arch, kernel := broken(t, test.script), image(t, "image")
			p := Prober{Dir: t.TempDir(), Device: device(t), Patience: 300 * time.Millisecond}
			for _, why := range []string{test.why, test.why + " (remembered)"} {
				got, err := p.Choose(t.Context(), arch, "auto", kernel)
				if want := (Choice{TCG, why}); err != nil || got != want {
					t.Errorf("Choose(auto) = %+v, %v; want %+v", got, err, want)
				}
			}
			if got, err := p.Choose(t.Context(), arch, "kvm", kernel); err == nil || strings.Contains(err.Error(), "remembered") {
				t.Errorf("Choose(kvm) = %+v, %v; want an error of a new probe: it must not fall back", got, err)
			}
			if got, err := p.Choose(t.Context(), arch, "tcg", kernel); err != nil || got.Accel != TCG {
				t.Errorf("Choose(tcg) = %+v, %v", got, err)
			}
		})
	}
}

// probed ends as a kernel does that is started as a probe must be, without a file
// system. There is one kernel that only begins.
const probed = `case "$*" in *-initrd*) exit 2 ;; esac
for a; do case $a in file,id=console,path=*) exec >"${a#*path=}"; esac; done
echo "Probing EDD... Linux version 6"
case "$*" in *broken-image*) ;; *) echo "[ 0.5] Kernel panic - not syncing: VFS: Unable to mount root fs" ;; esac
exec sleep 60`

func TestChooseKVM(t *testing.T) {
	arch, kernel := broken(t, probed), image(t, "image")
	p := Prober{Dir: t.TempDir(), Device: device(t), Patience: 10 * time.Second}
	works := Choice{KVM, "a kernel comes up under it"}
	if got, err := p.Choose(t.Context(), arch, "auto", kernel); err != nil || got != works {
		t.Errorf("Choose = %+v, %v; want %+v", got, err, works)
	}
	// This is true for any other kernel.
	if got, err := p.Choose(t.Context(), arch, "kvm", image(t, "broken-image")); err != nil || got != works {
		t.Errorf("Choose for another kernel = %+v, %v; want %+v", got, err, works)
	}
	// A new QEMU in the same place counts as a new host.
	if err := os.WriteFile(arch.QEMU, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Choose(t.Context(), arch, "auto", kernel); err != nil || got.Accel != TCG {
		t.Errorf("Choose with a new QEMU = %+v, %v; want tcg: the answer was for the old one", got, err)
	}
}

// TestChooseBrokenKernel checks that a kernel that does not come up counts
// against KVM for no other kernel, and not for ever.
func TestChooseBrokenKernel(t *testing.T) {
	arch, kernel := broken(t, probed), image(t, "broken-image")
	p := Prober{Dir: t.TempDir(), Device: device(t), Patience: time.Second}
	choose := func(kernel string) Choice {
		t.Helper()
		got, err := p.Choose(t.Context(), arch, "auto", kernel)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	const why = "the kernel did not come up within 1s under KVM"
	if got, want := choose(kernel), (Choice{TCG, why}); got != want {
		t.Errorf("for the broken kernel: %+v, want %+v", got, want)
	}
	edit := func(from, to string) {
		t.Helper()
		paths, err := filepath.Glob(filepath.Join(p.Dir, "kvm-*-*.json"))
		if err != nil || len(paths) != 1 {
			t.Fatalf("remembered in %q, %v", paths, err)
		}
		text, err := os.ReadFile(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		changed := regexp.MustCompile(from).ReplaceAll(text, []byte(to))
		if bytes.Equal(changed, text) {
			t.Fatalf("no %s in %s", from, text)
		}
		if err := os.WriteFile(paths[0], changed, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, stale := range []struct{ from, to string }{
		{`("uptime": )\d+`, "${1}-4000"},                   // an hour ago
		{`("patience": )\d+`, "${1}1"},                     // that was too short
		{`("kernel": "[^"]* )\d+"`, `${1}1"`},              // the file was another
		{`("host": "[^"]*boot )[0-9a-f]+`, "${1}0123abcd"}, // the host was rebooted since
		{`"host"`, `"host" "host"`},                        // damaged
	} {
		if got, want := choose(kernel), (Choice{TCG, why + " (remembered)"}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		edit(stale.from, stale.to)
		if got, want := choose(kernel), (Choice{TCG, why}); got != want {
			t.Errorf("with %s: %+v, want %+v", stale.to, got, want)
		}
	}
	if got := choose(image(t, "image")); got.Accel != KVM {
		t.Errorf("for a kernel that is well: %+v", got)
	}
}

func TestChooseWithoutDevice(t *testing.T) {
	p := Prober{Dir: t.TempDir(), Device: filepath.Join(t.TempDir(), "none"), Patience: time.Second}
	got, err := p.Choose(t.Context(), broken(t, "exit 1"), "auto", image(t, "image"))
	if want := (Choice{TCG, p.Device + ": no such file or directory"}); err != nil || got != want {
		t.Errorf("Choose = %+v, %v; want %+v", got, err, want)
	}
}

// watch returns a Watch for a fake QEMU.
func watch(silence, deadline time.Duration) Watch {
	return Watch{Console: io.Discard, Events: io.Discard, Log: io.Discard, Silence: silence, Deadline: deadline}
}

func TestRunEnds(t *testing.T) {
	chatty := `shift; for a; do case $a in file,id=console,path=*) exec >"${a#*path=}"; esac; done; while :; do echo x; sleep 0.05; done`
	for _, test := range []struct {
		name, script string
		killed       error
		code         int
	}{
		{"by itself", "exit 0", nil, 0},
		{"by itself, failing", "exit 7", nil, 7},
		{"silent", "exec sleep 60", ErrSilence, -1},
		{"past its deadline", chatty, ErrDeadline, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			start := time.Now()
			exit, err := Machine{Target: broken(t, test.script), Accel: TCG, Kernel: "k"}.Run(t.Context(), watch(time.Second, 2*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			if !errors.Is(exit.Killed, test.killed) || exit.Code != test.code {
				t.Errorf("exit = %+v, want killed by %v, code %d", exit, test.killed, test.code)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestRunInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("interrupted")
	time.AfterFunc(200*time.Millisecond, func() { cancel(cause) })
	exit, err := Machine{Target: broken(t, "exec sleep 60"), Accel: TCG, Kernel: "k"}.Run(ctx, watch(time.Minute, time.Minute))
	if err != nil || !errors.Is(exit.Killed, cause) {
		t.Errorf("exit = %+v, %v; want killed by %v", exit, err, cause)
	}
}

func TestRunWithoutQEMU(t *testing.T) {
	arch := broken(t, "exit 0")
	arch.QEMU = "qemu-system-absent"
	_, err := Machine{Target: arch, Accel: TCG, Kernel: "k"}.Run(t.Context(), watch(time.Second, time.Second))
	if missing, ok := errors.AsType[*run.NotFoundError](err); !ok || missing.Program != "qemu-system-absent" {
		t.Errorf("err = %v, want a NotFoundError for qemu-system-absent", err)
	}
}

// A full disk must not look like a silent guest.
func TestRunReportsWriterErrors(t *testing.T) {
	full := errors.New("no space left")
	w := watch(time.Minute, time.Minute)
	w.Console = writerFunc(func([]byte) (int, error) { return 0, full })
	exit, err := Machine{Target: broken(t, `shift; for a; do case $a in file,id=console,path=*) echo K >"${a#*path=}"; esac; done; exec sleep 60`), Accel: TCG, Kernel: "k"}.Run(t.Context(), w)
	if err != nil || !errors.Is(exit.Killed, full) {
		t.Errorf("exit = %+v, %v; want killed by %v", exit, err, full)
	}
}

// The counter must run at a steady rate, or the guest's time would not.
func TestHostTicks(t *testing.T) {
	if !counts {
		if got := HostTicks(); got != 0 {
			t.Errorf("HostTicks = %d on an unknown host, want 0", got)
		}
		return
	}
	a, b := HostTicks(), HostTicks()
	if a < 1000 || a > 10_000_000 || max(a, b)-min(a, b) > max(a, b)/50 {
		t.Errorf("HostTicks = %d, then %d kHz; want twice about the same, between 1 MHz and 10 GHz", a, b)
	}
}

func TestCommand(t *testing.T) {
	for _, arch := range target.All() {
		t.Run(arch.Name, func(t *testing.T) {
			argv, err := Machine{
				Target: arch, Accel: TCG, Kernel: "/a b/image", Initramfs: "/a b/cpio", MemoryMiB: 256, TicksKHz: 2100000, KernelArgs: []string{"x=y"},
			}.Command("console.log", "events.jsonl")
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", arch.Name+".command")
			got := strings.Join(argv, "\n") + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("command line, one argument a line:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}
