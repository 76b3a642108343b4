// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/internal/run"
)

// moment is how long after a signal the same one again is no impatience:
// timeout(1), for one, signals a program and then its process group.
const moment = time.Second / 2

// errUnread is why we end if nobody reads what we print any more.
var errUnread = errors.New("interrupted by SIGPIPE")

// lastWords is how long we may take to end after a second signal.
const lastWords = time.Second

// interrupts is what signals ask of us.
type interrupts struct {
	cancel context.CancelCauseFunc
	// stop ends the taking of signals.
	stop func()
	// again is the number of the second signal, once there is one.
	again atomic.Int32
}

// interruptible returns a context that the first signal to end cancels, with a
// cause. A second signal kills everything that we started, except for a package
// manager, which we wait for, and then ends us, as soon as we have written a
// verdict. We handle that one as well, because a shell makes its background
// jobs ignore SIGINT.
func interruptible() (context.Context, *interrupts) {
	ctx, cancel := context.WithCancelCause(context.Background())
	ctx, hurry := run.Track(ctx)
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT}
	if !signal.Ignored(syscall.SIGHUP) { // by nohup(1)
		ends = append(ends, syscall.SIGHUP)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, ends...)
	// The write that causes a SIGPIPE fails as well, which is enough. Unlike
	// a signal that we ignore, one that we take is back to its default in
	// the programs that we start.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	in := &interrupts{cancel: cancel, stop: func() { signal.Stop(signals) }}
	go func() {
		first, start := <-signals, time.Now()
		cancel(fmt.Errorf("interrupted by %s", unix.SignalName(first.(syscall.Signal))))
		again := <-signals
		for again == first && time.Since(start) < moment {
			again = <-signals
		}
		in.again.Store(int32(again.(syscall.Signal)))
		hurry()
		time.Sleep(lastWords)
		os.Exit(in.code(exitHarness))
	}()
	return ctx, in
}

// code returns our exit code, which is that of a process that the second signal
// killed, if there was one.
func (in *interrupts) code(code int) int {
	if again := in.again.Load(); again != 0 {
		return 128 + int(again)
	}
	return code
}

// outlet is our standard output or error.
type outlet struct {
	w      io.Writer
	cancel context.CancelCauseFunc
}

// Write cancels what we do if nobody reads any more.
func (o outlet) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		o.cancel(errUnread)
	}
	return n, err
}
