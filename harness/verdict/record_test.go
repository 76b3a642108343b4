// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/kheaders/kheaders/initramfs/wire"
)

// feed gives events to a recorder.
func feed(r *Recorder, events ...wire.Event) {
	for _, e := range events {
		r.Add(Line{Event: e})
	}
}

// healthy returns the evidence of a run that passes.
func healthy() Evidence {
	r := NewRecorder()
	feed(
		r,
		wire.Event{Kind: wire.KindHello, Version: wire.Version},
		wire.Event{Kind: wire.KindStart, Test: "TestA"},
		wire.Event{Kind: wire.KindAttr, Test: "TestA", Key: AttrSHA256, Value: "00"},
		wire.Event{Kind: wire.KindEnd, Test: "TestA", Status: wire.StatusPass},
		wire.Event{Kind: wire.KindExit},
		wire.Event{Kind: wire.KindDone},
	)
	return Evidence{Declared: []string{"TestA"}, SHA256: "00", Record: r.Record()}
}

// Every verdict that Decide can give beats those after it in the list.
func TestPrecedence(t *testing.T) {
	spoil := map[Verdict]func(*Evidence){
		KernelPanic: func(e *Evidence) {
			e.Console.Findings = append(e.Console.Findings, Finding{Name: "panic", Panic: true, Title: "panic"})
		},
		KernelSplat: func(e *Evidence) {
			e.Console.Findings = append(e.Console.Findings, Finding{Name: "warning", Title: "warning"})
		},
		InfraError:     func(e *Evidence) { e.Record.Version = 99 },
		BootHang:       func(e *Evidence) { e.Record.Hello = false; e.Exit.Killed = KilledSilent },
		Timeout:        func(e *Evidence) { e.Record.Fail, e.Record.Deadline = "too late", true },
		TestFailed:     func(e *Evidence) { e.Record.ExitCode = 1 },
		MissingResults: func(e *Evidence) { e.Declared = append(e.Declared, "TestB") },
	}
	if res := Decide(healthy()); res.Verdict != Pass || res.GuestSHA256 != "00" {
		t.Fatalf("%+v", res)
	}
	order := Precedence()
	if order[0] != BuildFailed || order[len(order)-1] != Pass {
		t.Fatalf("the order is %v", order)
	}
	for i, strong := range order[1 : len(order)-1] {
		for _, weak := range order[1+i : len(order)-1] {
			if strong == InfraError && weak == BootHang {
				continue // a guest that never spoke has no version
			}
			e := healthy()
			spoil[weak](&e)
			spoil[strong](&e)
			res := Decide(e)
			if res.Verdict != strong {
				t.Errorf("%s over %s: the verdict is %s", strong, weak, res.Verdict)
			}
			if !slices.ContainsFunc(res.Problems, func(p string) bool { return strings.HasPrefix(p, string(weak)+": ") }) {
				t.Errorf("%s over %s: the problems are %q", strong, weak, res.Problems)
			}
		}
	}
	// An interrupted boot is not the guest's fault.
	if res := Decide(Evidence{SHA256: "00", Exit: Exit{Killed: KilledInterrupt}}); res.Verdict != InfraError {
		t.Errorf("an interrupted boot is %s", res.Verdict)
	}
}

// No evidence is a failure.
func TestNothing(t *testing.T) {
	if res := Decide(Evidence{}); res.Verdict == Pass {
		t.Errorf("%+v", res)
	}
	if res := Decide(Evidence{SHA256: "00"}); res.Verdict != MissingResults {
		t.Errorf("%+v", res)
	}
}

func TestFailedCell(t *testing.T) {
	res := Failed(BuildFailed, errors.New("make: *** [kheaders.o]\n\tError 1"))
	want := Result{
		Verdict: BuildFailed, Reason: "make: *** [kheaders.o] Error 1",
		Problems: []string{"build-failed: make: *** [kheaders.o] Error 1"},
	}
	if diff := cmp.Diff(want, res); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A second report that passes does not undo a failure, and one that fails
// spoils a pass.
func TestSecondEnd(t *testing.T) {
	for _, order := range [][]wire.Status{{wire.StatusPass, wire.StatusFail}, {wire.StatusFail, wire.StatusPass}} {
		r := NewRecorder()
		feed(r, wire.Event{Kind: wire.KindHello, Version: wire.Version}, wire.Event{Kind: wire.KindStart, Test: "TestA"})
		for _, s := range order {
			feed(r, wire.Event{Kind: wire.KindEnd, Test: "TestA", Status: s})
		}
		rec := r.Record()
		if rec.Tests[0].Status != StatusFail || rec.BreachCount != 1 {
			t.Errorf("%v: %+v", order, rec)
		}
	}
}

// The test that started last and has not ended is the current one.
func TestCurrent(t *testing.T) {
	r := NewRecorder()
	steps := []struct {
		kind wire.Kind
		test string
		want string
	}{
		{wire.KindHello, "", ""},
		{wire.KindStart, "TestA", "TestA"},
		{wire.KindStart, "TestA/x", "TestA/x"},
		{wire.KindStart, "TestA/y", "TestA/y"},
		{wire.KindEnd, "TestA/x", "TestA/y"},
		{wire.KindEnd, "TestA/y", "TestA"},
		{wire.KindEnd, "TestA", ""},
	}
	for _, s := range steps {
		ended := r.Add(Line{Event: wire.Event{Kind: s.kind, Test: s.test, Status: wire.StatusPass}})
		if got := r.Current(); got != s.want {
			t.Errorf("after %s %s the current test is %q, want %q", s.kind, s.test, got, s.want)
		}
		if (ended != nil) != (s.kind == wire.KindEnd) || ended != nil && ended.Name != s.test {
			t.Errorf("%s %s returned %+v", s.kind, s.test, ended)
		}
	}
}

// Whatever a guest sends, the memory for it is bounded, and the excess is a
// breach.
func TestRecorderBounds(t *testing.T) {
	r := NewRecorder()
	feed(r, wire.Event{Kind: wire.KindHello, Version: wire.Version})
	for i := range maxTests + 1 {
		feed(r, wire.Event{Kind: wire.KindStart, Test: fmt.Sprintf("Test%d", i)})
	}
	for range maxAttrs + 1 {
		feed(r, wire.Event{Kind: wire.KindAttr, Key: "k", Value: strings.Repeat("v", 2*maxValue)})
	}
	rec := r.Record()
	if len(rec.Tests) != maxTests || len(rec.Attrs) != maxAttrs || len(rec.Attrs[0].Value) > maxValue {
		t.Errorf("%d tests, %d facts", len(rec.Tests), len(rec.Attrs))
	}
	want := []string{
		fmt.Sprintf("more than %d tests, Test%d among them", maxTests, maxTests),
		fmt.Sprintf("more than %d facts, k among them", maxAttrs),
	}
	if diff := cmp.Diff(want, rec.Breaches); diff != "" {
		t.Errorf("breaches (-want +got):\n%s", diff)
	}

	for range 2 * maxBreaches {
		r.Add(Line{Err: errors.New(strings.Repeat("e", 2*maxBreach)), Raw: "?"})
	}
	rec = r.Record()
	if len(rec.Breaches) != maxBreaches || rec.BreachCount != 2+2*maxBreaches || len(rec.Breaches[2]) > maxBreach {
		t.Errorf("%d breaches kept of %d", len(rec.Breaches), rec.BreachCount)
	}
	res := Decide(Evidence{SHA256: "00", Record: rec})
	if len(res.Problems) != maxProblems || len(res.Reason) > maxReason {
		t.Errorf("%d problems, a reason of %d bytes", len(res.Problems), len(res.Reason))
	}
	more := fmt.Sprintf("missing-results: %d more departures from the protocol", 2+maxBreaches)
	if !slices.Contains(res.Problems, more) {
		t.Errorf("%q is not among %q", more, res.Problems)
	}
}

// The end of an output is kept, from the start of a line.
func TestTail(t *testing.T) {
	line := strings.Repeat("€", 20) + "\n"
	for _, piece := range []int{1, 100, 3 * maxOutput} {
		var o tail
		all := strings.Repeat(line, 1000)
		for p := range slices.Chunk([]byte(all), piece) {
			o.add(string(p))
		}
		s := o.String()
		if len(s) > maxOutput || len(s) < maxOutput/2 || !strings.HasSuffix(all, s) || !strings.HasPrefix(s, "€") || !utf8.ValidString(s) {
			t.Errorf("in pieces of %d: %d bytes, %.40q", piece, len(s), s)
		}
		if cap(o.buf) > 4*maxOutput {
			t.Errorf("in pieces of %d: a buffer of %d", piece, cap(o.buf))
		}
	}
	var o tail
	o.add(strings.Repeat("x", 2*maxOutput))
	if s := o.String(); len(s) != maxOutput {
		t.Errorf("one long line leaves %d bytes", len(s))
	}
}

// The reasons that make a skip a typed one.
func TestNotApplicable(t *testing.T) {
	tests := []struct{ output, want string }{
		{"not-applicable: no KASAN\n", "no KASAN"},
		{"    a_test.go:12: not-applicable: no\tKASAN\r\n", "no KASAN"},
		{"first\n    a_test.go:12: not-applicable:x\nlast\n", "x"},
		{"not-applicable:\nnext line\n", ""},
		{"it is not-applicable: really\n", ""},
		{"", ""},
	}
	for _, tt := range tests {
		r := NewRecorder()
		feed(
			r,
			wire.Event{Kind: wire.KindHello, Version: wire.Version},
			wire.Event{Kind: wire.KindStart, Test: "TestA"},
			wire.Event{Kind: wire.KindOutput, Test: "TestA", Output: tt.output},
			wire.Event{Kind: wire.KindEnd, Test: "TestA", Status: wire.StatusSkip},
		)
		if got := r.Record().Tests[0].NotApplicable; got != tt.want {
			t.Errorf("%q has the reason %q, want %q", tt.output, got, tt.want)
		}
	}
}

func TestClip(t *testing.T) {
	for _, tt := range []struct {
		in   string
		n    int
		want string
	}{
		{"short", 5, "short"},
		{"longer", 5, "lo…"},
		{"€€€", 8, "€…"},
	} {
		if got := clip(tt.in, tt.n); got != tt.want {
			t.Errorf("clip(%q, %d) = %q, want %q", tt.in, tt.n, got, tt.want)
		}
	}
}
