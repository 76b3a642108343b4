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
	// grace is what the test binary gets to print its goroutines when it is
	// asked to die, and then once more to die when it is killed.
	grace time.Duration
	// pending holds encoded events until flush. The first error of the port
	// stays in err, and nothing is sent after it.
	pending bytes.Buffer
	enc     *json.Encoder
	err     error
}

func newSession(port io.Writer, uptime func() float64) *session {
	s := &session{port: port, uptime: uptime, grace: grace}
	s.enc = json.NewEncoder(&s.pending)
	// It would make "<" six bytes long, for the sake of browsers.
	s.enc.SetEscapeHTML(false)
	s.send(wire.Event{Kind: wire.KindHello, Version: wire.Version})
	return s
}

// send queues an event. Writes cost more than bytes, so they are gathered.
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

// fail reports that nothing could be run, and ends the session.
func (s *session) fail(err error) error {
	s.send(wire.Event{Kind: wire.KindFail, Error: err.Error()})
	return s.done()
}

func (s *session) done() error {
	s.send(wire.Event{Kind: wire.KindDone})
	s.flush()
	return s.err
}

// run runs the planned test binary and reports on it, from its start to done.
// The error is what could not be told to the host.
func (s *session) run(plan wire.Plan) error {
	s.flush() // the hello goes out before anything can go wrong
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

// gather is how long an event may wait for others to be sent with.
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
			// Under emulation each switch between the tests and us costs
			// milliseconds. What they print meanwhile waits in the pipe.
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

// clocks are the deadlines of a plan. The time is the monotonic clock's, so it
// does not matter when somebody sets the other one.
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
		default: // something else took too long before
		}
	}
	c.whole = time.AfterFunc(seconds(plan.DeadlineSeconds), func() { expire("the test binary", plan.DeadlineSeconds) })
	// It runs from a test's start. Started with its limit and stopped at once, it
	// would go off on a machine that stands still between the two.
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
	// state is nil when the process could not even be killed.
	state *os.ProcessState
	err   error
	// late says what took too long, if that was its end.
	late string
}

// supervise waits for the process, and kills it and its group when something
// takes too long. After the process it gives the pipe a grace to run dry: something
// outside the group may hold its other end for ever.
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
		// A Go program prints its goroutines on SIGQUIT: what it waits for.
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

// killGroup signals the process's group. It is mostly gone by then, which is
// no error; and for any other there is no better means left.
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
	// startedPath is a file that is there once an agent has been started.
	startedPath = "/kheaders-agent-started"
	// grace is how long an ending test binary may take, see session.
	grace = 2 * time.Second
	// margin is added to the deadline before the machine is reset whatever
	// state the agent is in, such as stuck in a write to the host.
	margin = 5 * grace
)
