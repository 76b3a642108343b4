// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/kheaders/kheaders/initramfs/wire"
)

// What is kept of a guest is bounded, whatever it sends.
const (
	maxTests    = 1024
	maxOutput   = 8 << 10
	maxAttrs    = 512
	maxValue    = 4 << 10
	maxBreaches = 16
	maxBreach   = 1 << 10
)

// AttrSHA256 is the key of the fact that proves the headers: the hex digest of
// /proc/kheaders.tar.xz as the guest read it.
const AttrSHA256 = "sha256"

// notApplicable matches the line that makes a skip a typed one, with or without
// the position that package testing puts in front.
var notApplicable = regexp.MustCompile(`(?m)^[ \t]*(?:\S+\.go:\d+: )?not-applicable:[ \t]*(\S.*)$`)

// Record is what the guest's events say.
type Record struct {
	// Hello says that the agent reported in; Version and HelloUptime are from
	// its greeting.
	Hello       bool
	Version     int
	HelloUptime float64
	// Exit says that the agent reported the test binary's end, with ExitCode and
	// ExitError.
	Exit      bool
	ExitCode  int
	ExitError string
	// Done says that the final event arrived.
	Done bool
	// Fail is the agent's first report of a failure of its own.
	Fail string
	// Deadline says that the agent ended the tests because the plan's deadline
	// had passed.
	Deadline bool
	// Tests and Attrs are in the order in which they were first mentioned.
	Tests []Test
	Attrs []Attr
	// Output is the end of what the test binary printed outside of tests, at
	// most 8 KiB.
	Output string
	// Malformed counts the lines that were not events.
	Malformed int
	// Breaches are deviations from what a healthy guest sends, in order, at most
	// 16. BreachCount counts all of them.
	Breaches    []string
	BreachCount int
	// Last is the last event in words, to say what the guest did last.
	Last string
}

// Recorder follows the events of one run in bounded memory. It is not safe
// for concurrent use.
type Recorder struct {
	rec Record
	// tests maps a name to its index in order.
	tests map[string]int
	order []*recorded
	// running are the tests that have started but not ended, in order.
	running []string
	output  tail
}

// recorded is a test while the guest runs.
type recorded struct {
	name    string
	ended   bool
	status  Status
	seconds float64
	output  tail
}

// NewRecorder returns a recorder that has seen nothing.
func NewRecorder() *Recorder { return &Recorder{tests: map[string]int{}} }

// Current returns the test that started last and has not ended, or empty.
func (r *Recorder) Current() string {
	if len(r.running) == 0 {
		return ""
	}
	return r.running[len(r.running)-1]
}

// Running returns the top-level test that Current belongs to, or empty.
func (r *Recorder) Running() string {
	top, _, _ := strings.Cut(r.Current(), "/")
	return top
}

// Add takes the next line. If it ended a test, Add returns that test, to show
// progress on a terminal.
func (r *Recorder) Add(l Line) *Test {
	if l.Err != nil {
		r.rec.Malformed++
		r.breach("a malformed event (%v): %s", l.Err, l.Raw)
		return nil
	}
	e := l.Event
	switch {
	case r.rec.Done:
		r.breach("the event %s after the last one", describe(e))
	case !r.rec.Hello && e.Kind != wire.KindHello:
		r.breach("the event %s before the greeting", describe(e))
	}
	r.rec.Last = describe(e)

	switch e.Kind {
	case wire.KindHello:
		if r.rec.Hello {
			r.breach("a second greeting: the guest started over")
			return nil
		}
		r.rec.Hello, r.rec.Version, r.rec.HelloUptime = true, e.Version, e.Uptime
	case wire.KindStart:
		r.start(e)
	case wire.KindEnd:
		return r.end(e)
	case wire.KindOutput:
		if e.Test == "" {
			r.output.add(e.Output)
		} else if t := r.known(e); t != nil {
			t.output.add(e.Output)
		}
	case wire.KindAttr:
		if e.Test == "" || r.known(e) != nil {
			r.attr(e)
		}
	case wire.KindExit:
		if r.rec.Exit {
			r.breach("the test binary's end was reported twice")
			return nil
		}
		r.rec.Exit, r.rec.ExitCode, r.rec.ExitError = true, e.Code, clip(e.Error, maxValue)
	case wire.KindFail, wire.KindDeadline:
		r.rec.Deadline = r.rec.Deadline || e.Kind == wire.KindDeadline
		if r.rec.Fail == "" {
			r.rec.Fail = clip("the guest agent said: "+e.Error, maxValue)
		}
	case wire.KindDone:
		r.rec.Done = true
	}
	return nil
}

// Record returns what has been seen so far.
func (r *Recorder) Record() Record {
	rec := r.rec
	rec.Output = r.output.String()
	rec.Tests = make([]Test, len(r.order))
	for i, t := range r.order {
		rec.Tests[i] = t.test()
	}
	return rec
}

// start records the start of a test.
func (r *Recorder) start(e wire.Event) {
	if _, ok := r.tests[e.Test]; ok {
		r.breach("%s started twice", e.Test)
		return
	}
	if r.rec.Exit {
		r.breach("%s started after the test binary's end", e.Test)
	}
	if parent, _, ok := cutLast(e.Test); ok {
		if i, ok := r.tests[parent]; !ok || r.order[i].ended {
			r.breach("%s started while %s was not running", e.Test, parent)
		}
	}
	if len(r.order) == maxTests {
		r.breach("more than %d tests, %s among them", maxTests, e.Test)
		return
	}
	r.tests[e.Test] = len(r.order)
	r.order = append(r.order, &recorded{name: e.Test, status: StatusUnfinished})
	r.running = append(r.running, e.Test)
}

// end records the end of a test.
func (r *Recorder) end(e wire.Event) *Test {
	i, ok := r.tests[e.Test]
	if !ok {
		r.breach("%s ended without having started", e.Test)
		return nil
	}
	t := r.order[i]
	if t.ended {
		r.breach("%s ended twice", e.Test)
		// A second report must not turn a failure into a pass.
		if e.Status == wire.StatusFail {
			t.status = StatusFail
		}
		return nil
	}
	t.ended, t.status, t.seconds = true, Status(e.Status), e.Elapsed
	for j := len(r.running) - 1; j >= 0; j-- {
		if r.running[j] == e.Test {
			r.running = append(r.running[:j], r.running[j+1:]...)
			break
		}
	}
	test := t.test()
	return &test
}

// known returns the test that an event is about, and records a breach if it has
// not started.
func (r *Recorder) known(e wire.Event) *recorded {
	i, ok := r.tests[e.Test]
	if !ok {
		r.breach("%s came from %s, which has not started", e.Kind, e.Test)
		return nil
	}
	return r.order[i]
}

// attr records a fact.
func (r *Recorder) attr(e wire.Event) {
	if len(r.rec.Attrs) == maxAttrs {
		r.breach("more than %d facts, %s among them", maxAttrs, e.Key)
		return
	}
	r.rec.Attrs = append(r.rec.Attrs, Attr{Test: e.Test, Key: e.Key, Value: clip(e.Value, maxValue)})
}

// breach records that the guest did something that a healthy one does not do.
func (r *Recorder) breach(format string, args ...any) {
	r.rec.BreachCount++
	if len(r.rec.Breaches) < maxBreaches {
		r.rec.Breaches = append(r.rec.Breaches, clip(fmt.Sprintf(format, args...), maxBreach))
	}
}

// test returns the result as far as it is known.
func (t *recorded) test() Test {
	out := Test{Name: t.name, Status: t.status, Seconds: t.seconds, Output: t.output.String()}
	if t.status == StatusSkip {
		if m := notApplicable.FindStringSubmatch(out.Output); m != nil {
			out.NotApplicable = oneLine(m[1])
		}
	}
	return out
}

// describe puts an event in words.
func describe(e wire.Event) string {
	s := string(e.Kind)
	if e.Test != "" {
		s += " " + e.Test
	}
	return fmt.Sprintf("%q at %.2f s of uptime", s, e.Uptime)
}

// cutLast cuts a test's name at its last slash.
func cutLast(name string) (parent, child string, ok bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return name, "", false
	}
	return name[:i], name[i+1:], true
}

// tail keeps the end of a text.
type tail struct {
	buf []byte
	cut bool
}

func (t *tail) add(s string) {
	if over := len(s) - maxOutput; over > 0 {
		s, t.cut, t.buf = s[over:], true, t.buf[:0]
	}
	t.buf = append(t.buf, s...)
	// Cutting only at twice the bound keeps the copying linear.
	if len(t.buf) > 2*maxOutput {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-maxOutput:]...)
		t.cut = true
	}
}

// String returns at most maxOutput bytes. If something had to go, they start at
// the start of a line.
func (t *tail) String() string {
	b, cut := t.buf, t.cut
	if len(b) > maxOutput {
		b, cut = b[len(b)-maxOutput:], true
	}
	s := strings.ToValidUTF8(string(b), "�")
	if _, rest, ok := strings.Cut(s, "\n"); cut && ok {
		return rest
	}
	return s
}
