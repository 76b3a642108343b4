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
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestProbeImage boots each target's probe image under TCG: it must print its
// byte, or a working KVM would be taken for a broken one.
func TestProbeImage(t *testing.T) {
	for _, arch := range target.All() {
		t.Run(arch.Name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(image, arch.ProbeImage, 0o644); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			var console, log bytes.Buffer
			exit, err := Machine{Target: arch, Accel: TCG, Kernel: image, MemoryMiB: 128}.Run(ctx, Watch{
				Console: writerFunc(func(b []byte) (int, error) {
					cancel(errPrinted)
					return console.Write(b)
				}),
				Events: io.Discard, Log: &log,
				Silence: 20 * time.Second, Deadline: 20 * time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			if console.String() != "K" {
				t.Errorf("console = %q, want K; killed: %v, code %d, QEMU said: %s", console.String(), exit.Killed, exit.Code, log.String())
			}
		})
	}
}

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

func TestChooseFallsBack(t *testing.T) {
	for _, test := range []struct{ name, script, why string }{
		{"QEMU aborts", `echo "qemu: error: failed to set MSR 0x10a" >&2; exit 1`, "QEMU ended with code 1 under KVM: qemu: error: failed to set MSR 0x10a"},
		{"the guest spins", `exec sleep 60`, "a guest under KVM printed nothing within 300ms"},
		{"QEMU ends without a word", `exit 0`, "QEMU ended with code 0 under KVM: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			arch := broken(t, test.script)
			p := Prober{Dir: t.TempDir(), Device: device(t), Patience: 300 * time.Millisecond}
			for _, why := range []string{test.why, test.why + " (remembered)"} {
				got, err := p.Choose(t.Context(), arch, "auto")
				if want := (Choice{TCG, why}); err != nil || got != want {
					t.Errorf("Choose(auto) = %+v, %v; want %+v", got, err, want)
				}
			}
			if got, err := p.Choose(t.Context(), arch, "kvm"); err == nil {
				t.Errorf("Choose(kvm) = %+v, want an error: it must not fall back", got)
			}
			if got, err := p.Choose(t.Context(), arch, "tcg"); err != nil || got.Accel != TCG {
				t.Errorf("Choose(tcg) = %+v, %v", got, err)
			}
		})
	}
}

func TestChooseKVM(t *testing.T) {
	arch := broken(t, `shift; for a; do case $a in file,id=console,path=*) echo K >"${a#*path=}"; esac; done; exec sleep 60`)
	p := Prober{Dir: t.TempDir(), Device: device(t), Patience: 10 * time.Second}
	for range 2 {
		got, err := p.Choose(t.Context(), arch, "auto")
		if want := (Choice{KVM, "a probe guest ran under it"}); err != nil || got != want {
			t.Errorf("Choose = %+v, %v; want %+v", got, err, want)
		}
	}
	// An answer to another probe is none.
	other := arch
	other.ProbeImage = []byte("another")
	if got, ok := recallFor(t, p, arch), recallFor(t, p, other); !got || ok {
		t.Errorf("remembered for the probe: %v, for another: %v", got, ok)
	}
	// Another QEMU in the same place is another host.
	if err := os.WriteFile(arch.QEMU, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Choose(t.Context(), arch, "auto"); err != nil || got.Accel != TCG {
		t.Errorf("Choose with a new QEMU = %+v, %v; want tcg: the answer was for the old one", got, err)
	}
}

func recallFor(t *testing.T, p Prober, arch target.Target) bool {
	t.Helper()
	host, err := fingerprint(p.Device, arch)
	if err != nil {
		t.Fatal(err)
	}
	_, ok := recall(filepath.Join(p.Dir, "kvm-"+arch.Name+".json"), host)
	return ok
}

func TestChooseWithoutDevice(t *testing.T) {
	p := Prober{Dir: t.TempDir(), Device: filepath.Join(t.TempDir(), "none"), Patience: time.Second}
	got, err := p.Choose(t.Context(), broken(t, "exit 1"), "auto")
	if want := (Choice{TCG, p.Device + ": no such file or directory"}); err != nil || got != want {
		t.Errorf("Choose = %+v, %v; want %+v", got, err, want)
	}
}

// watch is a Watch for a fake QEMU.
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
