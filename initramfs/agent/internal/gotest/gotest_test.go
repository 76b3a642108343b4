// SPDX-License-Identifier: BSD-3-Clause

package gotest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/kheaders/kheaders/initramfs/wire"
)

func start(test string) wire.Event { return wire.Event{Kind: wire.KindStart, Test: test} }

func output(test, s string) wire.Event {
	return wire.Event{Kind: wire.KindOutput, Test: test, Output: s}
}

func attr(test, key, value string) wire.Event {
	return wire.Event{Kind: wire.KindAttr, Test: test, Key: key, Value: value}
}

func end(test string, s wire.Status, elapsed float64) wire.Event {
	return wire.Event{Kind: wire.KindEnd, Test: test, Status: s, Elapsed: elapsed}
}

var parseTests = []struct {
	name string
	in   string
	want []wire.Event
}{
	{name: "nothing"},
	{
		"pass", "\x16=== RUN   TestA\n\x16--- PASS: TestA (0.25s)\n\x16PASS\n",
		[]wire.Event{start("TestA"), end("TestA", wire.StatusPass, 0.25), output("", "PASS\n")},
	},
	{
		"fail and skip with their output",
		"\x16=== RUN   TestA\n    a_test.go:3: got 1\n\x16--- FAIL: TestA (0.00s)\n" +
			"\x16=== RUN   TestB\n    b_test.go:4: not here\n\x16--- SKIP: TestB (0.00s)\n\x16FAIL\n",
		[]wire.Event{
			start("TestA"), output("TestA", "    a_test.go:3: got 1\n"), end("TestA", wire.StatusFail, 0),
			start("TestB"), output("TestB", "    b_test.go:4: not here\n"), end("TestB", wire.StatusSkip, 0),
			output("", "FAIL\n"),
		},
	},
	{
		"subtests, reported flat by go 1.20 and later",
		"\x16=== RUN   TestA\n\x16=== RUN   TestA/x=1\n\x16--- PASS: TestA/x=1 (1.00s)\n\x16=== NAME  TestA\n" +
			"of A\n\x16--- PASS: TestA (1.00s)\n",
		[]wire.Event{
			start("TestA"), start("TestA/x=1"), end("TestA/x=1", wire.StatusPass, 1),
			output("TestA", "of A\n"), end("TestA", wire.StatusPass, 1),
		},
	},
	{
		"subtests, reported indented",
		"\x16--- PASS: TestA (1.00s)\n\x16    --- PASS: TestA/x (1.00s)\n\x16        --- SKIP: TestA/x/y (0.00s)\n",
		[]wire.Event{
			end("TestA", wire.StatusPass, 1), end("TestA/x", wire.StatusPass, 1), end("TestA/x/y", wire.StatusSkip, 0),
		},
	},
	{
		"parallel tests: output follows the name last seen",
		"\x16=== RUN   TestA\n\x16=== PAUSE TestA\n\x16=== RUN   TestB\n\x16=== PAUSE TestB\n" +
			"\x16=== CONT  TestA\na1\n\x16=== CONT  TestB\nb1\n\x16=== NAME  TestA\na2\n\x16=== NAME  \nnobody\n\x16=== NAME\nneither\n",
		[]wire.Event{
			start("TestA"), start("TestB"),
			output("TestA", "a1\n"), output("TestB", "b1\n"), output("TestA", "a2\n"), output("", "nobody\nneither\n"),
		},
	},
	{
		"attributes",
		"\x16=== RUN   TestA\n\x16=== ATTR  TestA sha256 00ff\n\x16=== ATTR  TestA text two words\n\x16=== ATTR  TestA empty \n",
		[]wire.Event{
			start("TestA"), attr("TestA", "sha256", "00ff"), attr("TestA", "text", "two words"), attr("TestA", "empty", ""),
		},
	},
	{
		"a mark ends an unfinished line of output",
		"\x16=== RUN   TestA\nno newline\x16--- PASS: TestA (0.00s)\n",
		[]wire.Event{start("TestA"), output("TestA", "no newline"), end("TestA", wire.StatusPass, 0)},
	},
	{
		"a mark ends an unfinished marked line",
		"\x16=== RUN \x16=== RUN   TestA\n",
		[]wire.Event{output("", "=== RUN "), start("TestA")},
	},
	{
		"the last line needs no newline",
		"\x16=== RUN   TestA\n\x16--- FAIL: TestA (0.50s)",
		[]wire.Event{start("TestA"), end("TestA", wire.StatusFail, 0.5)},
	},
	{
		"carriage returns",
		"\x16=== RUN   TestA\r\n\x16--- PASS: TestA (0.50s)\r\n",
		[]wire.Event{start("TestA"), end("TestA", wire.StatusPass, 0.5)},
	},
	{
		"unmarked lookalikes are output",
		"\x16=== RUN   TestA\n--- PASS: TestA (0.00s)\n=== RUN   TestB\nPASS\n",
		[]wire.Event{start("TestA"), output("TestA", "--- PASS: TestA (0.00s)\n=== RUN   TestB\nPASS\n")},
	},
	{
		"marked lines in no known form are output",
		"\x16=== RUN   \n\x16=== PAUSE \n\x16=== ATTR  TestA\n\x16=== ARTIFACTS TestA /tmp\n\x16--- PASS: TestA\n\x16--- PASS: TestA (xs)\n" +
			"\x16--- PASS: TestA (NaNs)\n\x16--- PASS: TestA (Infs)\n\x16--- PASS: TestA (-1s)\n\x16--- GOOD: TestA (0.00s)\n\x16testing: warning: no tests to run\n",
		[]wire.Event{output("", "=== RUN   \n=== PAUSE \n=== ATTR  TestA\n=== ARTIFACTS TestA /tmp\n--- PASS: TestA\n--- PASS: TestA (xs)\n"+
			"--- PASS: TestA (NaNs)\n--- PASS: TestA (Infs)\n--- PASS: TestA (-1s)\n--- GOOD: TestA (0.00s)\ntesting: warning: no tests to run\n")},
	},
	{
		"a panic belongs to the test that ran",
		"\x16=== RUN   TestA\npanic: oh\n\ngoroutine 1 [running]:\n",
		[]wire.Event{start("TestA"), output("TestA", "panic: oh\n\ngoroutine 1 [running]:\n")},
	},
	{
		"long output is split",
		"\x16=== RUN   TestA\n" + strings.Repeat("x", 2*MaxPiece+1) + "\n",
		[]wire.Event{
			start("TestA"), output("TestA", strings.Repeat("x", MaxPiece)), output("TestA", strings.Repeat("x", MaxPiece)), output("TestA", "x\n"),
		},
	},
	{
		"and never within a character",
		"yyy" + strings.Repeat("\u20ac", MaxPiece/3) + "\n",
		[]wire.Event{output("", "yyy"+strings.Repeat("\u20ac", MaxPiece/3-1)), output("", "\u20ac\n")},
	},
	{
		"an overlong marked line is output",
		"\x16=== RUN   TestA\n\x16=== RUN   Test" + strings.Repeat("B", MaxPiece) + "\nmore\n",
		[]wire.Event{
			start("TestA"), output("TestA", "=== RUN   Test"+strings.Repeat("B", MaxPiece-14)),
			output("TestA", strings.Repeat("B", 14)+"\nmore\n"),
		},
	},
}

// parse feeds a parser in pieces of size bytes.
func parse(in []byte, size int) []wire.Event {
	var got []wire.Event
	p := New(func(e wire.Event) { got = append(got, e) })
	for len(in) > 0 {
		n := min(size, len(in))
		p.Write(in[:n]) //nolint:errcheck // it cannot fail
		in = in[n:]
	}
	p.Close()
	return got
}

func TestParse(t *testing.T) {
	for _, tt := range parseTests {
		t.Run(tt.name, func(t *testing.T) {
			// The events must not depend on how the pipe cuts the text.
			for _, size := range []int{1, 2, 3, 7, 1000, 1 << 20} {
				if diff := cmp.Diff(tt.want, parse([]byte(tt.in), size)); diff != "" {
					t.Fatalf("in pieces of %d bytes: (-want +got)\n%s", size, diff)
				}
			}
		})
	}
}

func TestFlush(t *testing.T) {
	var got []wire.Event
	p := New(func(e wire.Event) { got = append(got, e) })
	fmt.Fprint(p, "one\ntwo\nthr")
	if got != nil {
		t.Errorf("before Flush: got %v, want nothing", got)
	}
	p.Flush()
	fmt.Fprint(p, "ee\n")
	p.Flush()
	want := []wire.Event{output("", "one\ntwo\n"), output("", "three\n")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func FuzzParser(f *testing.F) {
	for _, tt := range parseTests {
		f.Add([]byte(tt.in), 5)
	}
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		got := parse(in, max(size, 1))
		if diff := cmp.Diff(parse(in, 1), got); diff != "" {
			t.Errorf("pieces of %d bytes give other events than single bytes: (-want +got)\n%s", size, diff)
		}
		var out strings.Builder
		for _, e := range got {
			line, err := json.Marshal(e)
			if err != nil {
				t.Fatalf("%+v: %v", e, err)
			}
			if len(line)+1 > wire.MaxLine {
				t.Errorf("an event of %d bytes, more than wire.MaxLine", len(line)+1)
			}
			out.WriteString(e.Output)
			if utf8.Valid(in) && !utf8.ValidString(e.Output) {
				t.Errorf("a character was split: %q", e.Output)
			}
			if (e.Kind == wire.KindOutput) != (e.Output != "") {
				t.Errorf("output and kind disagree: %+v", e)
			}
		}
		// Without marked lines, the output is the input.
		if !bytes.Contains(in, []byte{marker}) && out.String() != string(in) {
			t.Errorf("output changed:\n got %q\nwant %q", out.String(), in)
		}
	})
}
