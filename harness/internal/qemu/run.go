// SPDX-License-Identifier: BSD-3-Clause

package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	vmtest "github.com/hugelgupf/vmtest/qemu"
)

// The reasons why [Run] ends a machine, to be found in [Exit.Killed].
var (
	// ErrSilence means that neither console nor events moved for too long.
	ErrSilence = errors.New("no output")
	// ErrDeadline means that the machine used up all its time.
	ErrDeadline = errors.New("deadline")
)

// Watch says where a machine's output goes, and how long the machine may take.
type Watch struct {
	// Console and Events receive what the guest sends, and Log what QEMU
	// itself prints. Each gets pieces of any length from its own goroutine.
	// They must not block; an error ends the machine.
	Console, Events, Log io.Writer
	// Silence is how long Console and Events may both be silent.
	Silence time.Duration
	// Deadline is how long the machine may run.
	Deadline time.Duration
}

// Exit is how a machine ended.
type Exit struct {
	// Code is QEMU's exit code, or -1 when a signal ended it.
	Code int
	// Signal is the name of that signal.
	Signal string
	// Killed is why we ended it: ErrSilence, ErrDeadline, a writer's error,
	// or the context's cause. It is nil if the machine ended by itself.
	Killed error
	// Seconds is the time from QEMU's start to its end.
	Seconds float64
}

// Run boots the machine and waits for it to end. The error is about starting
// QEMU; Exit says what happened after that. When Run returns, QEMU is gone.
func (m Machine) Run(ctx context.Context, watch Watch) (Exit, error) {
	if err := m.installed(); err != nil {
		return Exit{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var moved atomic.Int64
	start := time.Now()
	touch := func() { moved.Store(int64(time.Since(start))) }

	vm, err := vmtest.StartContext(ctx, vmtest.Arch(m.Target.GOARCH), m.options(
		m.panicDevice(),
		stream(consoleDevice, watch.Console, touch, cancel),
		stream(m.eventsDevice, watch.Events, touch, cancel),
		stream(logTo, watch.Log, func() {}, cancel),
	)...)
	if err != nil {
		return Exit{}, fmt.Errorf("starting %s: %w", m.Target.QEMU, err)
	}

	watchdog := make(chan struct{})
	go func() {
		defer close(watchdog)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			now := time.Since(start)
			switch {
			case now > watch.Deadline:
				cancel(fmt.Errorf("%w of %v", ErrDeadline, watch.Deadline))
			case now-time.Duration(moved.Load()) > watch.Silence:
				cancel(fmt.Errorf("%w for %v", ErrSilence, watch.Silence))
			}
		}
	}()

	err = vm.Wait()
	exit := Exit{Seconds: time.Since(start).Seconds(), Killed: context.Cause(ctx)}
	cancel(nil)
	<-watchdog
	if exitErr, ok := errors.AsType[*exec.ExitError](err); ok {
		exit.Code = exitErr.ExitCode()
		if status, ok := exitErr.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			exit.Signal = status.Signal().String()
		}
	} else if err != nil && exit.Killed == nil {
		return exit, fmt.Errorf("running %s: %w", m.Target.QEMU, err)
	}
	return exit, nil
}

// drain is how long the rest of a machine's output may take to arrive.
const drain = 10 * time.Second

// stream gives QEMU a pipe for a device and copies it to w until QEMU ends.
// Only QEMU has the other end, so the pipe ends with it. By the time Run
// returns, everything written before the machine ended has been read.
func stream(device func(path string) vmtest.Fn, w io.Writer, touch func(), fail context.CancelCauseFunc) vmtest.Fn {
	return func(alloc *vmtest.IDAllocator, o *vmtest.Options) error {
		r, theirs, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("making a pipe for QEMU: %w", err)
		}
		fd := o.AddFile(theirs)
		o.Tasks = append(o.Tasks, func(ctx context.Context, n *vmtest.Notifications) error {
			defer func() { _ = r.Close() }()
			select {
			case <-n.VMStarted:
				if err := theirs.Close(); err != nil {
					return err
				}
			case <-ctx.Done():
				return nil
			}
			go func() {
				<-n.VMExited //nolint:errcheck // how it ended does not matter
				// Whoever else has the pipe open must not hold
				// us up.
				_ = r.SetReadDeadline(time.Now().Add(drain))
			}()
			buf := make([]byte, 64<<10)
			for {
				k, err := r.Read(buf)
				if k > 0 {
					touch()
					if _, err := w.Write(buf[:k]); err != nil {
						fail(fmt.Errorf("keeping the guest's output: %w", err))
						return nil
					}
				}
				if err != nil {
					return nil
				}
			}
		})
		return device(fmt.Sprintf("/proc/self/fd/%d", fd))(alloc, o)
	}
}
