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
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/renameio/v2"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

// believed is how long a failed probe counts: the host may have been too busy.
const believed = time.Hour

// Choice is an accelerator with the reason for it.
type Choice struct {
	Accel Accel
	// Why is one line of explanation for the report.
	Why string
}

// Prober finds out which accelerator works on this host.
type Prober struct {
	// Dir is where its answers are kept.
	Dir string
	// Device is the KVM device, /dev/kvm except in tests.
	Device string
	// Patience is how long a kernel may take to come up. With a working KVM that
	// is a second, two if the kernel is a distribution's or full of checks. One
	// that spins never comes up, and neither does one under a KVM that emulates
	// every instruction, as kvm_pvm does for a guest that is not made for it: its
	// first messages come after 5 s, its last ones, if at all, minutes later.
	Patience time.Duration
}

// Choose returns the accelerator for a target. want is "auto", "kvm" or "tcg";
// "kvm" fails rather than falling back. A device that opens proves nothing, so
// both boot kernel, the path of an image, and remember the outcome. If it comes
// up, KVM works on this host. If not, KVM does not work for this kernel, which
// may itself be to blame.
func (p Prober) Choose(ctx context.Context, t target.Target, want, kernel string) (Choice, error) {
	switch want {
	case string(TCG):
		return Choice{TCG, "asked for"}, nil
	case string(KVM), "auto":
	default:
		return Choice{}, hint.Usage(fmt.Errorf("unknown accelerator %q", want), "use --accel auto, kvm or tcg")
	}
	why, err := p.broken(ctx, t, kernel, want == string(KVM))
	switch {
	case err != nil:
		return Choice{}, err
	case why == "":
		return Choice{KVM, "a kernel comes up under it"}, nil
	case want == string(KVM):
		return Choice{}, hint.New(fmt.Errorf("KVM does not work here: %s", why), "use --accel auto or --accel tcg")
	default:
		return Choice{TCG, why}, nil
	}
}

// broken says why KVM cannot be used, or returns nothing if it can. With insist
// it does not accept a remembered failure.
func (p Prober) broken(ctx context.Context, t target.Target, kernel string, insist bool) (string, error) {
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
	image, err := identity(kernel)
	if err != nil {
		return "", err
	}
	var now syscall.Sysinfo_t
	if err := syscall.Sysinfo(&now); err != nil {
		return "", fmt.Errorf("reading how long the host has been up: %w", err)
	}
	works := filepath.Join(p.Dir, "kvm-"+t.Name+".json")
	fails := filepath.Join(p.Dir, fmt.Sprintf("kvm-%s-%.8x.json", t.Name, sha256.Sum256([]byte(kernel))))
	if a, ok := recall(works); ok && a.Host == host {
		return "", nil
	}
	if a, ok := recall(fails); ok && !insist && a.Host == host && a.Kernel == image && a.Patience >= p.Patience &&
		int64(now.Uptime)-a.Uptime < int64(believed.Seconds()) {
		return a.Broken + " (remembered)", nil
	}
	why, err := p.probe(ctx, t, kernel)
	if err != nil {
		return "", fmt.Errorf("probing KVM: %w", err)
	}
	if why == "" {
		return "", remember(works, answer{Host: host})
	}
	return why, remember(fails, answer{Host: host, Kernel: image, Broken: why, Patience: p.Patience, Uptime: int64(now.Uptime)})
}

// answer is what we remember about a probe.
type answer struct {
	// Host identifies the host, see [fingerprint].
	Host string `json:"host"`
	// Broken is why KVM does not work for Kernel. Empty means that KVM
	// works for all kernels.
	Broken string `json:"broken,omitempty"`
	Kernel string `json:"kernel,omitempty"`
	// Patience is how long the kernel had to come up.
	Patience time.Duration `json:"patience,omitempty"`
	// Uptime is the host's uptime at the probe, in seconds.
	Uptime int64 `json:"uptime,omitempty"`
}

// recall reads an answer. It ignores a damaged one, so that we probe again.
func recall(path string) (a answer, ok bool) {
	text, err := os.ReadFile(path)
	return a, err == nil && json.Unmarshal(text, &a) == nil
}

func remember(path string, a answer) error {
	text, err := json.MarshalIndent(a, "", "\t")
	if err != nil {
		return err
	}
	err = os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = renameio.WriteFile(path, append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("remembering the accelerator: %w", err)
	}
	return nil
}

// fingerprint names everything that an answer depends on: the host's kernel,
// this boot of it (and with it the loaded modules and the hypervisor below),
// its processor, the device and the QEMU program.
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
	qemu, err := identity(program)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("linux %s, boot %s; %s; %s; %s", release.String(), bytes.TrimSpace(boot), cpu, device, qemu), nil
}

// identity names a file in its current state.
func identity(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("looking at what KVM is to run: %w", err)
	}
	return fmt.Sprintf("%s %d %d", path, info.Size(), info.ModTime().UnixNano()), nil
}

// cameUp is the panic that ends the boot of a kernel that has no file system: by
// then everything has run that a kernel does on its way to init. The firmware
// speaks before, and so does a kernel under a KVM that gets it no further.
var cameUp = regexp.MustCompile(`Kernel panic - not syncing: (VFS: Unable to mount root|No working init found)`)

// probe boots a kernel under KVM without a file system, and returns why it did
// not come up, or nothing.
func (p Prober) probe(ctx context.Context, t target.Target, kernel string) (string, error) {
	var up atomic.Bool
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var console, log bytes.Buffer
	exit, err := Machine{Target: t, Accel: KVM, Kernel: kernel, MemoryMiB: 256}.Run(ctx, Watch{
		Console: writerFunc(func(b []byte) (int, error) {
			if console.Len() < 64<<10 { // which is more than a boot prints
				console.Write(b)
				if cameUp.Match(console.Bytes()) {
					up.Store(true)
					cancel(errUp)
				}
			}
			return len(b), nil
		}),
		Events:   io.Discard,
		Log:      &log,
		Silence:  p.Patience,
		Deadline: p.Patience,
	})
	if err != nil {
		return "", err
	}
	if up.Load() {
		return "", nil
	}
	line, _, _ := strings.Cut(strings.TrimSpace(log.String()), "\n")
	said := strings.TrimSuffix(": "+strings.TrimSpace(line), ": ")
	switch {
	case errors.Is(exit.Killed, ErrSilence), errors.Is(exit.Killed, ErrDeadline):
		return fmt.Sprintf("the kernel did not come up within %v under KVM%s", p.Patience, said), nil
	case exit.Killed != nil:
		return "", exit.Killed
	}
	return fmt.Sprintf("QEMU ended with code %d under KVM%s", exit.Code, said), nil
}

var errUp = errors.New("the kernel came up")

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
