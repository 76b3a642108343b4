// SPDX-License-Identifier: BSD-3-Clause

// Agent runs the guest tests and reports them to the host.
//
// u-root's init starts it as /bin/uinit. It reads the plan at wire.PlanPath,
// loads the plan's drivers and runs its test binary. It sends what the tests
// print as events over the virtio-serial port wire.Port, and then resets the
// machine, which ends QEMU under -no-reboot. If the plan has no test binary, it
// runs the shell instead.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/hugelgupf/vmtest/guest"
	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/initramfs/wire"
)

func main() {
	// init starts us again, as the shell, if we die.
	if f, err := os.OpenFile(startedPath, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err == nil {
		complain(f.Close())
	} else if errors.Is(err, fs.ErrExist) {
		complain(errors.New("the agent has died: resetting the machine"))
		complain(reset())
		return
	}
	plan, err := readPlan(wire.PlanPath)
	if err == nil && plan.TestBinary == "" {
		complain(shell())
		complain(reset())
		return
	}
	for _, path := range plan.Drivers {
		complain(loadDriver(path)) // and go on: without it, the port does not show up
	}
	port, portErr := openPort(wire.Port, portWait)
	if errors.Is(err, fs.ErrNotExist) && portErr != nil {
		// No plan and no host: somebody booted the image by hand.
		complain(err)
		complain(shell())
		complain(reset())
		return
	}
	time.AfterFunc(seconds(plan.DeadlineSeconds)+margin, func() {
		complain(errors.New("the deadline is long past: resetting the machine"))
		if err := reset(); err != nil {
			complain(err)
		}
	})
	switch {
	case portErr != nil:
		complain(err)
		complain(portErr)
	case err != nil:
		complain(err)
		complain(newSession(port, uptime).fail(err))
	default:
		complain(newSession(port, uptime).run(plan))
	}
	complain(reset())
}

// loadDriver loads one of the kernel's own modules.
func loadDriver(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("loading a driver: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
		return fmt.Errorf("loading the driver %s: %w", path, err)
	}
	return nil
}

// shell runs the shell on the console until it ends.
func shell() error {
	const path = "/bbin/gosh"
	proc, err := os.StartProcess(path, []string{path}, &os.ProcAttr{
		Env:   os.Environ(),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return fmt.Errorf("starting the shell: %w", err)
	}
	_, err = proc.Wait()
	return err
}

// complain prints an error to the console, unless it is nil.
func complain(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "kheaders agent:", err)
	}
}

// readPlan reads the plan and validates it.
func readPlan(path string) (wire.Plan, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return wire.Plan{}, fmt.Errorf("reading the plan: %w", err)
	}
	var plan wire.Plan
	if err := json.Unmarshal(b, &plan); err != nil {
		return wire.Plan{}, fmt.Errorf("reading the plan %s: %w", path, err)
	}
	if plan.Version != wire.Version {
		return wire.Plan{}, fmt.Errorf("the plan has version %d, this agent knows %d", plan.Version, wire.Version)
	}
	for _, s := range []float64{plan.DeadlineSeconds, plan.TestDeadlineSeconds} {
		if plan.TestBinary != "" && !(s > 0 && s < maxDeadline.Seconds()) {
			return wire.Plan{}, fmt.Errorf("the plan has a deadline of %v s, not between 0 and %v", s, maxDeadline)
		}
	}
	return plan, nil
}

// maxDeadline is more than any run needs, and far from overflowing a Duration.
const maxDeadline = 24 * time.Hour

// openPort opens the virtio-serial port of that name once it exists.
func openPort(name string, wait time.Duration) (*os.File, error) {
	for give := time.Now().Add(wait); ; time.Sleep(5 * time.Millisecond) {
		port, err := tryPort(name)
		if err == nil {
			return port, nil
		}
		if time.Now().After(give) {
			return nil, fmt.Errorf("no port to the host after %v: %w", wait, err)
		}
	}
}

func tryPort(name string) (*os.File, error) {
	dev, err := guest.VirtioSerialDevice(name)
	if err != nil {
		return nil, err
	}
	// Not os.OpenFile, which would make it non-blocking: a blocking write
	// returns when QEMU has the bytes, so a reset cannot lose them.
	fd, err := unix.Open(dev, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dev, Err: err}
	}
	return os.NewFile(uintptr(fd), dev), nil
}

// uptime returns the time since boot in seconds.
func uptime() float64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	// Whole microseconds have few digits in JSON.
	return float64(ts.Nano()/1e3) / 1e6
}

// reset ends the machine. It returns only on failure.
func reset() error {
	unix.Sync()
	// Reset, since powering off may need ACPI, which the small test kernel does
	// not have. QEMU runs with -no-reboot, and so ends either way.
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		return fmt.Errorf("resetting the machine: %w", err)
	}
	return nil
}
