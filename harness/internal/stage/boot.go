// SPDX-License-Identifier: BSD-3-Clause

package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/kheaders/kheaders/harness/internal/qemu"
	"github.com/kheaders/kheaders/harness/verdict"
)

// Limits bound a boot: how long it may be silent, how long one test may take,
// and how long the whole boot may take.
type Limits struct {
	Silence, Test, Deadline time.Duration
}

// Scale stretches all of them.
func (l Limits) Scale(factor float64) Limits {
	scale := func(d time.Duration) time.Duration { return time.Duration(float64(d) * factor) }
	return Limits{scale(l.Silence), scale(l.Test), scale(l.Deadline)}
}

// BootInput is what [Boot] takes.
type BootInput struct {
	Machine qemu.Machine
	Limits  Limits
	// Allow lists what the kernel may report and still pass.
	Allow verdict.Allowlist
	// Dir gets everything that the guest says, as it arrives: see
	// [BootLogs].
	Dir string
	// Ended is called with each test as it ends.
	Ended func(verdict.Test)
}

// Booted is the outcome of a boot.
type Booted struct {
	Record  verdict.Record
	Console verdict.Console
	Exit    verdict.Exit
	// Seconds is the time from QEMU's start to its end.
	Seconds float64
}

// The logs of a boot.
const (
	consoleLog = "console.log"
	// timesLog is the console again, each line prefixed with the seconds
	// since QEMU's start.
	timesLog  = "console.times.log"
	eventsLog = "events.jsonl"
	qemuLog   = "qemu.log"
)

// BootLogs returns the names of the files that [Boot] writes.
func BootLogs() []string { return []string{consoleLog, timesLog, eventsLog, qemuLog} }

// Boot runs a machine to its end. It fails only when the machine cannot be
// started, or its output cannot be kept.
func Boot(parent context.Context, in BootInput) (_ Booted, err error) {
	files := map[string]*os.File{}
	for _, name := range BootLogs() {
		f, err := os.Create(filepath.Join(in.Dir, name))
		if err != nil {
			return Booted{}, fmt.Errorf("keeping what the guest says: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		files[name] = f
	}
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	slow := time.AfterFunc(in.Limits.Test, func() { cancel(errSlowTest) })
	slow.Stop() // until a test starts
	defer slow.Stop()

	scanner := verdict.NewScanner(in.Allow)
	events := newListener(scanner, slow, in)
	log := &head{file: files[qemuLog]}
	start := time.Now()
	exit, err := in.Machine.Run(ctx, qemu.Watch{
		Console: io.MultiWriter(files[consoleLog], &stamper{out: files[timesLog], start: start}, scanner),
		Events:  io.MultiWriter(&bounded{out: files[eventsLog], room: verdict.MaxEvents}, events.decoder),
		Log:     log,
		Silence: in.Limits.Silence, Deadline: in.Limits.Deadline,
	})
	booted := Booted{Seconds: time.Since(start).Seconds()}
	if err != nil {
		return booted, err
	}
	if err := events.decoder.Close(); err != nil {
		return booted, err
	}
	booted.Record, booted.Console = events.recorder.Record(), scanner.Console()
	booted.Exit = howEnded(exit, in.Limits, parent.Err() != nil)
	booted.Exit.Stderr = log.text.String()
	return booted, nil
}

// listener follows a guest's events. It reports each test that ends, and limits
// how long each may take.
type listener struct {
	recorder *verdict.Recorder
	decoder  *verdict.Decoder
	running  string
}

func newListener(scanner *verdict.Scanner, slow *time.Timer, in BootInput) *listener {
	l := &listener{recorder: verdict.NewRecorder()}
	l.decoder = verdict.NewDecoder(func(line verdict.Line) {
		ended := l.recorder.Add(line)
		scanner.SetTest(l.recorder.Current())
		if now := l.recorder.Running(); now != l.running {
			l.running = now
			if slow.Stop(); now != "" {
				slow.Reset(in.Limits.Test)
			}
		}
		if ended != nil {
			in.Ended(*ended)
		}
	})
	return l
}

// howEnded tells the verdict why a machine ended.
func howEnded(exit qemu.Exit, limits Limits, interrupted bool) verdict.Exit {
	x := verdict.Exit{Code: exit.Code, Signal: exit.Signal}
	switch {
	case exit.Killed == nil:
	case errors.Is(exit.Killed, qemu.ErrSilence):
		x.Killed, x.LimitSeconds = verdict.KilledSilent, limits.Silence.Seconds()
	case errors.Is(exit.Killed, qemu.ErrDeadline):
		x.Killed, x.LimitSeconds = verdict.KilledDeadline, limits.Deadline.Seconds()
	case errors.Is(exit.Killed, errSlowTest):
		x.Killed, x.LimitSeconds = verdict.KilledTest, limits.Test.Seconds()
	case errors.Is(exit.Killed, errFlood):
		x.Killed = verdict.KilledFlood
	case interrupted:
		x.Killed, x.Err = verdict.KilledInterrupt, exit.Killed
	default:
		x.Err = exit.Killed
	}
	return x
}
