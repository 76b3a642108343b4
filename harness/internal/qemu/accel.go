// SPDX-License-Identifier: BSD-3-Clause

package qemu

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/renameio/v2"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

// Patience is how long a guest may take to print its first byte under KVM. A
// working KVM needs a fraction of a second for it; one that spins never does,
// and one that emulates every instruction (as kvm_pvm does for a guest that is
// not made for it) needs minutes.
const Patience = 5 * time.Second

// Choice is an accelerator with the reason for it.
type Choice struct {
	Accel Accel
	// Why is one line for the report.
	Why string
}

// Prober finds out which accelerator works on this host.
type Prober struct {
	// Dir is where its answers are kept, per host and QEMU.
	Dir string
	// Device is the KVM device, /dev/kvm but in tests.
	Device string
	// Patience is how long to wait for the probe guest's byte.
	Patience time.Duration
}

// Choose returns the accelerator for a target. want is "auto", "kvm" or
// "tcg"; "kvm" fails rather than falls back. A device that opens proves
// nothing, so both boot a guest that prints one byte, and remember what came of
// it.
func (p Prober) Choose(ctx context.Context, t target.Target, want string) (Choice, error) {
	switch want {
	case string(TCG):
		return Choice{TCG, "asked for"}, nil
	case string(KVM), "auto":
	default:
		return Choice{}, hint.Usage(fmt.Errorf("unknown accelerator %q", want), "use --accel auto, kvm or tcg")
	}
	why, err := p.broken(ctx, t)
	switch {
	case err != nil:
		return Choice{}, err
	case why == "":
		return Choice{KVM, "a probe guest ran under it"}, nil
	case want == string(KVM):
		return Choice{}, hint.New(fmt.Errorf("KVM does not work here: %s", why), "use --accel auto or --accel tcg")
	default:
		return Choice{TCG, why}, nil
	}
}

// broken says why KVM cannot be used, or nothing when it can.
func (p Prober) broken(ctx context.Context, t target.Target) (string, error) {
	if !t.Native() {
		return "KVM cannot run " + t.Name + " on this host", nil
	}
	f, err := os.OpenFile(p.Device, os.O_RDWR, 0)
	if err != nil {
		return fmt.Sprintf("%s: %v", p.Device, errors.Unwrap(err)), nil
	}
	_ = f.Close() // nothing was written

	host, err := fingerprint(p.Device, t)
	if err != nil {
		return "", err
	}
	path := filepath.Join(p.Dir, "kvm-"+t.Name+".json")
	if why, ok := recall(path, host); ok {
		if why != "" {
			why += " (remembered)"
		}
		return why, nil
	}
	why, err := p.probe(ctx, t)
	if err != nil {
		return "", fmt.Errorf("probing KVM: %w", err)
	}
	return why, remember(path, answer{Host: host, Broken: why})
}

// answer is what is remembered of a probe.
type answer struct {
	// Host identifies what was probed.
	Host string `json:"host"`
	// Broken is why KVM does not work, or empty.
	Broken string `json:"broken"`
}

func recall(path, host string) (string, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", false
	}
	var a answer
	if json.Unmarshal(text, &a) != nil || a.Host != host {
		return "", false // another host, or a file that was damaged: probe anew
	}
	return a.Broken, true
}

func remember(path string, a answer) error {
	text, err := json.MarshalIndent(a, "", "\t")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("remembering the accelerator: %w", err)
	}
	return nil
}

// fingerprint names everything that an answer depends on: the host's kernel and
// this boot of it, which has the modules and the hypervisor below it as they
// are, its processor, the device, the QEMU program and the probe.
func fingerprint(device string, t target.Target) (string, error) {
	var u syscall.Utsname
	if err := syscall.Uname(&u); err != nil {
		return "", fmt.Errorf("reading the host's kernel version: %w", err)
	}
	var release strings.Builder
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		release.WriteByte(byte(c))
	}
	cpu := ""
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "model name") || strings.HasPrefix(line, "CPU part") {
				cpu = strings.TrimSpace(line)
				break
			}
		}
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the id of the host's boot: %w", err)
	}
	program, err := run.Look(t.QEMU)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(program)
	if err != nil {
		return "", fmt.Errorf("reading the age of QEMU: %w", err)
	}
	return fmt.Sprintf("linux %s, boot %s; %s; %s; %s %d %d; probe %x", release.String(), bytes.TrimSpace(boot), cpu, device,
		program, info.Size(), info.ModTime().UnixNano(), sha256.Sum256(t.ProbeImage)), nil
}

// probe boots a guest under KVM that counts, prints one byte and spins. It returns
// why that failed, or nothing.
func (p Prober) probe(ctx context.Context, t target.Target) (string, error) {
	// Kept: a file with a fixed place needs no clearing up, whatever ends us.
	image := filepath.Join(p.Dir, "probe-"+t.Name)
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return "", err
	}
	if err := renameio.WriteFile(image, t.ProbeImage, 0o644); err != nil {
		return "", err
	}

	var printed atomic.Bool
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var log bytes.Buffer
	exit, err := Machine{Target: t, Accel: KVM, Kernel: image, MemoryMiB: 128}.Run(ctx, Watch{
		Console: writerFunc(func(b []byte) (int, error) {
			printed.Store(true)
			cancel(errPrinted)
			return len(b), nil
		}),
		Events:   io.Discard,
		Log:      &log,
		Silence:  p.Patience,
		Deadline: p.Patience,
	})
	switch {
	case err != nil:
		return "", err
	case printed.Load():
		return "", nil
	case errors.Is(exit.Killed, ErrSilence), errors.Is(exit.Killed, ErrDeadline):
		return fmt.Sprintf("a guest under KVM printed nothing within %v", p.Patience), nil
	case exit.Killed != nil:
		return "", exit.Killed
	}
	line, _, _ := strings.Cut(strings.TrimSpace(log.String()), "\n")
	return fmt.Sprintf("QEMU ended with code %d under KVM: %s", exit.Code, strings.TrimSpace(line)), nil
}

var errPrinted = errors.New("the probe guest printed")

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
