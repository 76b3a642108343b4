// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kheaders/kheaders/initramfs/agent/internal/gotest"
	"github.com/kheaders/kheaders/initramfs/wire"
)

// session is one conversation with the host, from hello to done.
type session struct {
	port   io.Writer
	uptime func() float64
	// grace is how long the test binary may take to print its goroutines after
	// SIGQUIT, and then to die after SIGKILL.
	grace time.Duration
	// pending buffers encoded events until flush. err is the port's first error;
	// nothing is sent after it.
	pending bytes.Buffer
	enc     *json.Encoder
	err     error
}

func newSession(port io.Writer, uptime func() float64) *session {
	s := &session{port: port, uptime: uptime, grace: grace}
	s.enc = json.NewEncoder(&s.pending)
	// Escaping is for browsers, and makes "<" six bytes long.
	s.enc.SetEscapeHTML(false)
	s.send(wire.Event{Kind: wire.KindHello, Version: wire.Version})
	return s
}

// send queues an event. A write costs more than its bytes, so flush sends many.
func (s *session) send(e wire.Event) {
	e.Uptime = s.uptime()
	if len(e.Error) > gotest.MaxPiece {
		e.Error = e.Error[:gotest.MaxPiece]
	}
	if err := s.enc.Encode(e); err != nil {
		s.err = errors.Join(s.err, fmt.Errorf("encoding an event: %w", err))
	}
}

// flush writes the queued events to the host.
func (s *session) flush() {
	if s.err == nil {
		if _, err := s.port.Write(s.pending.Bytes()); err != nil {
			s.err = fmt.Errorf("writing to the host: %w", err)
		}
	}
	s.pending.Reset()
}

// fail reports that the tests could not be run, and ends the session.
func (s *session) fail(err error) error {
	s.send(wire.Event{Kind: wire.KindFail, Error: err.Error()})
	return s.done()
}

func (s *session) done() error {
	s.send(wire.Event{Kind: wire.KindDone})
	s.flush()
	return s.err
}

// run runs the plan's test binary, and reports everything to the host, up to the
// final done. It returns an error if that does not reach the host.
func (s *session) run(plan wire.Plan) error {
	s.flush() // say hello before anything can go wrong
	r, w, err := os.Pipe()
	if err != nil {
		return s.fail(fmt.Errorf("making a pipe: %w", err))
	}
	defer func() { _ = r.Close() }()
	args := []string{plan.TestBinary, "-test.v=test2json", "-test.paniconexit0"}
	proc, err := os.StartProcess(plan.TestBinary, args, &os.ProcAttr{
		Dir:   "/",
		Env:   os.Environ(),
		Files: []*os.File{nil, w, w},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	_ = w.Close() // ours; the test binary has its own
	if err != nil {
		return s.fail(fmt.Errorf("starting the tests: %w", err))
	}

	c := newClocks(plan)
	defer c.stop()
	ended := make(chan ending, 1)
	go func() { ended <- supervise(proc, r, c.expired, s.grace) }()
	readErr := s.relay(r, c)
	end := <-ended

	if end.late != "" {
		s.send(wire.Event{Kind: wire.KindDeadline, Error: end.late})
	}
	if readErr != nil {
		s.send(wire.Event{Kind: wire.KindFail, Error: fmt.Sprintf("reading the tests' output: %v", readErr)})
	}
	s.send(end.event())
	return s.done()
}

// gather is how long an event may wait, so that several are sent together.
const gather = 25 * time.Millisecond

// relay turns what the tests print into events, until the pipe ends.
func (s *session) relay(r io.Reader, c *clocks) error {
	parser := gotest.New(func(e wire.Event) {
		s.send(e)
		c.see(e)
	})
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		parser.Write(buf[:n]) //nolint:errcheck // it cannot fail
		if err == nil {
			parser.Flush()
			s.flush()
			// Under emulation each switch between the tests and the agent
			// costs milliseconds. Meanwhile the pipe buffers their output.
			time.Sleep(gather)
			continue
		}
		parser.Close()
		s.flush()
		if err == io.EOF {
			return nil
		}
		return err
	}
}

// clocks are the deadlines of a plan. They use the monotonic clock, so setting
// the wall clock does not matter.
type clocks struct {
	// expired receives what took too long, once.
	expired     chan string
	whole, test *time.Timer
	limit       time.Duration
	// running is the top-level test that started last and has not ended.
	running atomic.Value
}

// newClocks starts the clock of all tests.
func newClocks(plan wire.Plan) *clocks {
	c := &clocks{expired: make(chan string, 1), limit: seconds(plan.TestDeadlineSeconds)}
	expire := func(what string, limit float64) {
		select {
		case c.expired <- fmt.Sprintf("%s did not end within %.4g s and was killed", what, limit):
		default: // another deadline passed before
		}
	}
	c.whole = time.AfterFunc(seconds(plan.DeadlineSeconds), func() { expire("the test binary", plan.DeadlineSeconds) })
	// It starts with a test. Creating it with its limit and stopping it at once
	// would let it expire on a machine that stalls between the two.
	c.test = time.AfterFunc(math.MaxInt64, func() { expire(c.running.Load().(string), plan.TestDeadlineSeconds) })
	return c
}

// see starts and stops the clock of a top-level test.
func (c *clocks) see(e wire.Event) {
	switch {
	case strings.Contains(e.Test, "/"):
	case e.Kind == wire.KindStart:
		c.running.Store(e.Test)
		c.test.Reset(c.limit)
	case e.Kind == wire.KindEnd && e.Test == c.running.Load():
		c.test.Stop()
	}
}

func (c *clocks) stop() {
	c.whole.Stop()
	c.test.Stop()
}

// ending is how the test binary ended.
type ending struct {
	// state is nil if not even killing the process worked.
	state *os.ProcessState
	err   error
	// late says what took too long, if anything did.
	late string
}

// supervise waits for the process, and kills it and its group if something takes
// too long. After that the pipe gets another grace to run dry: a process outside
// the group may keep its other end open for ever.
func supervise(proc *os.Process, pipe *os.File, expired <-chan string, grace time.Duration) ending {
	exited := make(chan ending, 1)
	go func() {
		state, err := proc.Wait()
		exited <- ending{state: state, err: err}
	}()
	var end ending
	ok := true
	select {
	case end = <-exited:
	case late := <-expired:
		// On SIGQUIT a Go program prints its goroutines, and so where it hangs.
		killGroup(proc, syscall.SIGQUIT)
		end, ok = await(exited, grace)
		if !ok {
			killGroup(proc, syscall.SIGKILL)
			end, ok = await(exited, grace)
		}
		end.late = late
	}
	if !ok {
		end.err = errors.New("the test binary survives SIGKILL: it is stuck in the kernel")
	}
	killGroup(proc, syscall.SIGKILL)
	if err := pipe.SetReadDeadline(time.Now().Add(grace)); err != nil {
		end.err = errors.Join(end.err, fmt.Errorf("limiting the pipe: %w", err))
	}
	return end
}

func await(exited <-chan ending, limit time.Duration) (end ending, ok bool) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case end = <-exited:
		return end, true
	case <-timer.C:
		return ending{}, false
	}
}

// killGroup signals the process's group. Usually the group is gone already,
// which is not an error, and nothing better is left to do about a real one.
func killGroup(proc *os.Process, sig syscall.Signal) {
	_ = syscall.Kill(-proc.Pid, sig)
}

func (e ending) event() wire.Event {
	if e.err != nil {
		return wire.Event{Kind: wire.KindExit, Code: -1, Error: e.err.Error()}
	}
	if !e.state.Exited() {
		return wire.Event{Kind: wire.KindExit, Code: -1, Error: e.state.String()}
	}
	return wire.Event{Kind: wire.KindExit, Code: e.state.ExitCode()}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

const (
	// portWait is how long the port may take to show up after boot.
	portWait = 5 * time.Second
	// startedPath is a file that exists once an agent has started.
	startedPath = "/kheaders-agent-started"
	// grace is how long a test binary may take to end, see session.
	grace = 2 * time.Second
	// margin is how long after the deadline the machine is reset in any case,
	// even if the agent is stuck, such as in a write to the host.
	margin = 5 * grace
)
