// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kheaders/kheaders/initramfs/wire"
)

// runPlan runs a session as the guest does, and returns what the host receives.
func runPlan(t *testing.T, plan wire.Plan) []wire.Event {
	t.Helper()
	var port bytes.Buffer
	s := newSession(&port, func() float64 { return 1 })
	s.grace = 300 * time.Millisecond
	plan.TestDeadlineSeconds = cmp.Or(plan.TestDeadlineSeconds, 2*plan.DeadlineSeconds)
	begin := time.Now()
	if err := s.run(plan); err != nil {
		t.Errorf("run: %v", err)
	}
	// Allow for the graces, and for a slow machine.
	if took, limit := time.Since(begin), seconds(plan.DeadlineSeconds)+5*time.Second; took > limit {
		t.Errorf("the session took %v, want at most %v", took, limit)
	}
	return decode(t, port.Bytes())
}

func decode(t *testing.T, b []byte) []wire.Event {
	t.Helper()
	var events []wire.Event
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		var e wire.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		if e.Uptime != 1 {
			t.Errorf("%q has no uptime", lines.Text())
		}
		events = append(events, e)
	}
	return events
}

// script writes a shell script to stand in for a test binary.
func script(t *testing.T, body string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "tests")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+body), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

var (
	hello = wire.Event{Kind: wire.KindHello, Version: wire.Version}
	done  = wire.Event{Kind: wire.KindDone}
)

const late = " did not end within 1 s and was killed"

// sessions are what a test binary does, and what the agent reports about it.
var sessions = []struct {
	name string
	body string
	want []wire.Event
}{
	{
		"arguments, both outputs, exit code",
		`echo "$1 $2 $#"; echo problem >&2; exit 3`,
		[]wire.Event{
			{Kind: wire.KindOutput, Output: "-test.v=test2json -test.paniconexit0 2\nproblem\n"},
			{Kind: wire.KindExit, Code: 3},
		},
	},
	{
		"killed by a signal",
		`kill -SEGV $$`,
		[]wire.Event{{Kind: wire.KindExit, Code: -1, Error: "signal: segmentation fault"}},
	},
	{
		"too slow",
		`printf '\026=== RUN   TestA\n'; exec sleep 60`,
		[]wire.Event{
			{Kind: wire.KindStart, Test: "TestA"},
			{Kind: wire.KindDeadline, Error: "the test binary" + late},
			{Kind: wire.KindExit, Code: -1, Error: "signal: quit"},
		},
	},
	{
		"a slow test",
		`printf '\026=== RUN   TestA\n'; sleep 0.6; printf '\026--- PASS: TestA (0.60s)\n'
		printf '\026=== RUN   TestB\n'; sleep 0.6; printf '\026=== RUN   TestB/b\n\026--- PASS: TestB/b (0.00s)\n'; exec sleep 60`,
		[]wire.Event{
			{Kind: wire.KindStart, Test: "TestA"},
			{Kind: wire.KindEnd, Test: "TestA", Status: wire.StatusPass, Elapsed: 0.6},
			{Kind: wire.KindStart, Test: "TestB"},
			{Kind: wire.KindStart, Test: "TestB/b"},
			{Kind: wire.KindEnd, Test: "TestB/b", Status: wire.StatusPass},
			{Kind: wire.KindDeadline, Error: "TestB" + late},
			{Kind: wire.KindExit, Code: -1, Error: "signal: quit"},
		},
	},
	{
		"too slow and ignoring SIGQUIT, with a child",
		`trap "" QUIT; sleep 60 & printf unfinished; wait; sleep 60`,
		[]wire.Event{
			{Kind: wire.KindOutput, Output: "unfinished"},
			{Kind: wire.KindDeadline, Error: "the test binary" + late},
			{Kind: wire.KindExit, Code: -1, Error: "signal: killed"},
		},
	},
	{
		"a child that outlives the tests is killed",
		`sleep 60 & exit 0`,
		[]wire.Event{{Kind: wire.KindExit}},
	},
	{
		"a child in another group that holds the output",
		`setsid sleep 2 & sleep 0.1; exit 0`,
		[]wire.Event{
			{Kind: wire.KindFail, Error: "reading the tests' output: read |0: i/o timeout"},
			{Kind: wire.KindExit},
		},
	},
}

func TestSession(t *testing.T) {
	for _, tt := range sessions {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			plan := wire.Plan{TestBinary: script(t, tt.body), DeadlineSeconds: 10}
			if strings.HasPrefix(tt.name, "too slow") {
				plan.DeadlineSeconds = 1
			}
			if tt.name == "a slow test" {
				plan.TestDeadlineSeconds = 1
			}
			want := append([]wire.Event{hello}, append(tt.want, done)...)
			if diff := gocmp.Diff(want, join(runPlan(t, plan)), cmpopts.IgnoreFields(wire.Event{}, "Uptime")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// join merges neighbouring outputs, since the pipe may have split them.
func join(events []wire.Event) []wire.Event {
	var joined []wire.Event
	for _, e := range events {
		if n := len(joined) - 1; n >= 0 && e.Kind == wire.KindOutput && joined[n].Kind == e.Kind && joined[n].Test == e.Test {
			joined[n].Output += e.Output
			continue
		}
		joined = append(joined, e)
	}
	return joined
}

// TestSample is what TestSessionGoTests runs in another process.
func TestSample(t *testing.T) {
	t.Attr("key", "some <value>")
	t.Run("child", func(t *testing.T) { t.Log("hi") })
}

// TestSessionGoTests runs a real test binary under the agent: this one.
func TestSessionGoTests(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	got := join(runPlan(t, wire.Plan{TestBinary: script(t, "exec "+self+` -test.run='^TestSample$' "$@"`), DeadlineSeconds: 30}))
	want := []wire.Event{
		hello,
		{Kind: wire.KindStart, Test: "TestSample"},
		{Kind: wire.KindAttr, Test: "TestSample", Key: "key", Value: "some <value>"},
		{Kind: wire.KindStart, Test: "TestSample/child"},
		{Kind: wire.KindOutput, Test: "TestSample/child", Output: "    session_test.go: hi\n"},
		{Kind: wire.KindEnd, Test: "TestSample/child", Status: wire.StatusPass},
		{Kind: wire.KindEnd, Test: "TestSample", Status: wire.StatusPass},
		{Kind: wire.KindOutput, Output: "PASS\n"},
		{Kind: wire.KindExit},
		done,
	}
	for i := range got {
		if name, rest, ok := strings.Cut(got[i].Output, ".go:"); ok {
			_, rest, _ = strings.Cut(rest, ": ")
			got[i].Output = name + ".go: " + rest
		}
	}
	if diff := gocmp.Diff(want, got, cmpopts.IgnoreFields(wire.Event{}, "Uptime", "Elapsed")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSessionCannotStart(t *testing.T) {
	got := runPlan(t, wire.Plan{TestBinary: "/nonexistent/tests", DeadlineSeconds: 1})
	want := []wire.Event{
		hello,
		{Kind: wire.KindFail, Error: "starting the tests: fork/exec /nonexistent/tests: no such file or directory"},
		done,
	}
	if diff := gocmp.Diff(want, got, cmpopts.IgnoreFields(wire.Event{}, "Uptime")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

type brokenPort struct{ writes int }

func (p *brokenPort) Write([]byte) (int, error) {
	p.writes++
	return 0, errors.New("gone")
}

func TestSessionBrokenPort(t *testing.T) {
	port := &brokenPort{}
	err := newSession(port, uptime).run(wire.Plan{TestBinary: script(t, "echo hi"), DeadlineSeconds: 10})
	if err == nil || err.Error() != "writing to the host: gone" {
		t.Errorf("run: %v, want the port's error", err)
	}
	if port.writes != 1 {
		t.Errorf("%d writes to a broken port, want 1", port.writes)
	}
}

func TestSessionLongError(t *testing.T) {
	var port bytes.Buffer
	err := newSession(&port, func() float64 { return 1 }).fail(errors.New(strings.Repeat("\x01", wire.MaxLine)))
	if err != nil {
		t.Fatal(err)
	}
	decode(t, port.Bytes())
	for line := range bytes.Lines(port.Bytes()) {
		if len(line) > wire.MaxLine {
			t.Errorf("a line of %d bytes, more than wire.MaxLine", len(line))
		}
	}
}

func TestReadPlan(t *testing.T) {
	tests := []struct{ name, plan, wantErr string }{
		{"good", `{"version":1,"test_binary":"/t","deadline_seconds":2.5,"test_deadline_seconds":1}`, ""},
		{"shell", `{"version":1}`, ""},
		{"no deadline", `{"version":1,"test_binary":"/t"}`, "the plan has a deadline of 0 s, not between 0 and 24h0m0s"},
		{"no deadline for a test", `{"version":1,"test_binary":"/t","deadline_seconds":1}`, "the plan has a deadline of 0 s, not between 0 and 24h0m0s"},
		{"long deadline", `{"version":1,"test_binary":"/t","deadline_seconds":1e12}`, "the plan has a deadline of 1e+12 s, not between 0 and 24h0m0s"},
		{"other version", `{"version":2}`, "the plan has version 2, this agent knows 1"},
		{"no JSON", `hello`, "reading the plan FILE: invalid character 'h' looking for beginning of value"},
		{"empty", ``, "reading the plan FILE: unexpected end of JSON input"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "plan.json")
			if err := os.WriteFile(name, []byte(tt.plan), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := readPlan(name)
			if got := strings.ReplaceAll(errText(err), name, "FILE"); got != tt.wantErr {
				t.Errorf("error %q, want %q", got, tt.wantErr)
			}
		})
	}
	if _, err := readPlan("/nonexistent"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing plan: %v, want ErrNotExist", err)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return fmt.Sprint(err)
}

func TestOpenPortGivesUp(t *testing.T) {
	begin := time.Now()
	_, err := openPort("org.kheaders.no-such-port", 20*time.Millisecond)
	if err == nil || !strings.HasPrefix(err.Error(), "no port to the host after 20ms: ") {
		t.Errorf("error %v, want that there is no port", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}
