// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The findings do not depend on how a console is cut into pieces or how its
// lines end.
func TestScannerPieces(t *testing.T) {
	console := strings.Repeat("[    0.100000] harmless\n", 300) +
		"[    1.000000] BUG: KASAN: use-after-free in f+0x1/0x2\r\n" +
		"[    1.000001] Call Trace:\r\n" +
		strings.Repeat("n", 3*maxPiece) + "[    1.500000] WARNING: CPU: 0 at the end of noise" + strings.Repeat("m", 2*maxPiece) + "\n" +
		"[    2.000000] Kernel panic - not syncing: no newline behind it"
	want := scan(t, recognisers, console)
	names := []string{}
	for _, f := range want {
		names = append(names, f.Name)
	}
	if diff := cmp.Diff([]string{"kasan", "panic"}, names); diff != "" {
		t.Fatalf("findings (-want +got):\n%s", diff)
	}
	if !slices.ContainsFunc(want[0].Lines, func(l string) bool { return strings.HasPrefix(l, "[    1.500000] WARNING: CPU: 0 at the end") }) {
		t.Errorf("the warning in the noise was not kept: %q", want[0].Lines)
	}
	for _, size := range []int{1, 2, 7, 255, 4096, 4097} {
		s := NewScanner(nil)
		for piece := range slices.Chunk([]byte(console), size) {
			if _, err := s.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		con := s.Console()
		if diff := cmp.Diff(want, con.Findings); diff != "" {
			t.Errorf("in pieces of %d bytes (-want +got):\n%s", size, diff)
		}
		if con.Bytes != int64(len(console)) {
			t.Errorf("counted %d bytes of %d", con.Bytes, len(console))
		}
	}
}

// A report in a long line is found once, wherever it starts.
func TestScannerLongLine(t *testing.T) {
	const text = "Kernel panic - not syncing: deep in noise"
	for _, at := range []int{0, 1, 120, 200, maxPiece - overlap - 1, maxPiece - overlap, maxPiece - 20, maxPiece - 1, maxPiece, maxPiece + 1, 3*maxPiece - 10} {
		for _, behind := range []int{0, 1, maxPiece} {
			console := strings.Repeat("\x00\xff", at)[:at] + text + strings.Repeat("y", behind) + "\n"
			found := scan(t, recognisers, console)
			if len(found) != 1 {
				t.Errorf("at %d with %d bytes behind: %d findings", at, behind, len(found))
				continue
			}
			if !strings.Contains(found[0].Title, "Kernel panic - not syncing:") {
				t.Errorf("at %d with %d bytes behind: the title is %q", at, behind, found[0].Title)
			}
		}
	}
}

// One report with several telling lines is one finding, named after the most
// telling of them. A second report is a second finding.
func TestScannerReports(t *testing.T) {
	tests := []struct {
		name    string
		console string
		want    []string
		title   string
	}{
		{
			"a refcount warning",
			"------------[ cut here ]------------\nrefcount_t: underflow; use-after-free.\nWARNING: CPU: 0 PID: 1 at lib/refcount.c:28 f\nCall Trace:\n---[ end trace 0 ]---\n",
			[]string{"refcount"},
			"refcount_t: underflow; use-after-free.",
		},
		{
			"a sanitizer's report behind cut here",
			"------------[ cut here ]------------\nUBSAN: array-index-out-of-bounds in a.c:1:2\nCall Trace:\n---[ end trace ]---\n",
			[]string{"ubsan"},
			"UBSAN: array-index-out-of-bounds in a.c:1:2",
		},
		{
			"two warnings",
			strings.Repeat("------------[ cut here ]------------\nWARNING: CPU: 0 PID: 1 at a.c:1 f\n---[ end trace 0 ]---\n", 2),
			[]string{"warning", "warning"},
			"WARNING: CPU: 0 PID: 1 at a.c:1 f",
		},
		{
			"a report that runs into another",
			"WARNING: possible recursive locking detected\nBUG: KASAN: double-free in f\n",
			[]string{"lockdep", "kasan"},
			"WARNING: possible recursive locking detected",
		},
		{
			"a general protection fault",
			"general protection fault: 0000 [#1] SMP\nRIP: 0010:f\nCall Trace:\n---[ end trace 0 ]---\n",
			[]string{"general-protection"},
			"general protection fault: 0000 [#1] SMP",
		},
		{
			"nothing keeps a report open for ever",
			"INFO: task a:1 blocked for more than 120 seconds.\n" + strings.Repeat("x\n", maxReport) + "Call Trace:\n",
			[]string{"hung-task", "stack-trace"},
			"INFO: task a:1 blocked for more than 120 seconds.",
		},
		{
			"a panic in the middle of a report",
			"kernel BUG at a.c:1!\nKernel panic - not syncing: Fatal exception\nOops: 0000 [#1]\n",
			[]string{"kernel-bug", "panic"},
			"kernel BUG at a.c:1!",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found := scan(t, recognisers, tt.console)
			var names []string
			for _, f := range found {
				names = append(names, f.Name)
			}
			if diff := cmp.Diff(tt.want, names); diff != "" {
				t.Fatalf("findings (-want +got):\n%s", diff)
			}
			if found[0].Title != tt.title {
				t.Errorf("the title is %q", found[0].Title)
			}
		})
	}
}

// A flood of warnings does not hide the panic after it.
func TestScannerFlood(t *testing.T) {
	console := strings.Repeat("------------[ cut here ]------------\nWARNING: CPU: 0 PID: 1 at a.c:1 f\n", 3*maxFindings) +
		"Kernel panic - not syncing: panic_on_warn set\n" + "Kernel panic - not syncing: again\n"
	s := NewScanner(nil)
	if _, err := s.Write([]byte(console)); err != nil {
		t.Fatal(err)
	}
	con := s.Console()
	if len(con.Findings) != maxFindings || con.Dropped != 2*maxFindings+2 /* the replaced one, the second panic */ {
		t.Errorf("%d findings and %d dropped", len(con.Findings), con.Dropped)
	}
	if last := con.Findings[len(con.Findings)-1]; last.Title != "Kernel panic - not syncing: panic_on_warn set" {
		t.Errorf("the last finding is %q", last.Title)
	}
	res := Decide(Evidence{Console: con})
	if res.Verdict != KernelPanic || len(res.Problems) == 0 {
		t.Errorf("the verdict is %s", res.Verdict)
	}
	if !slices.ContainsFunc(res.Problems, func(p string) bool { return strings.Contains(p, "more reports on the console") }) {
		t.Errorf("the dropped reports are not among %q", res.Problems)
	}
}

// Ten megabytes without a newline, and as much noise, need next to no memory.
func TestScannerMemory(t *testing.T) {
	noise := make([]byte, 1<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	line := bytes.Repeat([]byte("x"), 1<<20)
	s := NewScanner(nil)
	feed := func(n int) {
		for range n {
			_, _ = s.Write(line)
			_, _ = s.Write(noise)
		}
	}
	feed(1)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	feed(3)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive([][]byte{noise, line})
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<18 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if _, err := s.Write([]byte("\nKernel panic - not syncing: after all that\n")); err != nil {
		t.Fatal(err)
	}
	if found := s.Console().Findings; len(found) != 1 || !found[0].Panic {
		t.Errorf("found %+v", found)
	}
}

// The last lines are kept, except for empty ones.
func TestScannerRecent(t *testing.T) {
	s := NewScanner(nil)
	for i := range 2 * maxRecent {
		_, _ = fmt.Fprintf(s, "line %d\x1b[31m\n\n   \n", i)
	}
	con := s.Console()
	if len(con.Recent) != maxRecent || con.Recent[maxRecent-1] != fmt.Sprintf("line %d?[31m", 2*maxRecent-1) {
		t.Errorf("recent lines: %q", con.Recent)
	}
}

// What tests announce on the console beats what the events say. A malformed
// marker is a line like any other.
func TestScannerMarker(t *testing.T) {
	s := NewScanner(nil)
	in := func(test string) {
		t.Helper()
		_, _ = s.Write([]byte("------------[ cut here ]------------\nWARNING: CPU: 0\n---[ end trace 0 ]---\n"))
		found := s.Console().Findings
		if got := found[len(found)-1].Test; got != test {
			t.Errorf("attributed to %q, want %q", got, test)
		}
	}
	in("")
	s.SetTest("TestA")
	in("TestA")
	s.SetTest("")
	in("")
	_, _ = s.Write([]byte("[    1.000000] kheaders-test: TestB/sub\n"))
	in("TestB/sub")
	s.SetTest("TestA")
	in("TestB/sub")
	_, _ = s.Write([]byte("[    1.000000] kheaders-test: two words\n"))
	in("TestB/sub")
	_, _ = s.Write([]byte("[    1.000000] kheaders-test:\n"))
	in("")
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte("[    1.000000] BUG: KASAN: x\nCall Trace:\n"), uint16(1))
	f.Fuzz(func(t *testing.T, console []byte, size uint16) {
		whole, pieces := NewScanner(nil), NewScanner(nil)
		if n, err := whole.Write(console); n != len(console) || err != nil {
			t.Fatalf("Write returned %d, %v", n, err)
		}
		for piece := range slices.Chunk(console, max(1, int(size))) {
			_, _ = pieces.Write(piece)
		}
		a, b := whole.Console(), pieces.Console()
		if diff := cmp.Diff(a, b); diff != "" {
			t.Fatalf("pieces of %d bytes differ:\n%s", size, diff)
		}
		if len(a.Findings) > maxFindings || len(a.Recent) > maxRecent || cap(whole.buf) > 2*maxPiece {
			t.Fatalf("%d findings, %d recent lines, a buffer of %d", len(a.Findings), len(a.Recent), cap(whole.buf))
		}
		for _, f := range a.Findings {
			if len(f.Lines) == 0 || len(f.Lines) > maxReport || len(f.Title) > maxKept {
				t.Fatalf("a finding out of bounds: %+v", f)
			}
		}
		if bytes.Contains(console, []byte("Kernel panic - not syncing")) && !slices.ContainsFunc(a.Findings, func(f Finding) bool { return f.Panic }) {
			t.Fatal("the panic was not found")
		}
		if res := Decide(Evidence{Console: a}); res.Verdict == Pass || strings.ContainsAny(res.Reason, "\n\x1b") {
			t.Fatalf("%+v", res)
		}
	})
}
