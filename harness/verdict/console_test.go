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

	"github.com/kheaders/kheaders/harness/target"
)

// scan gives the findings in a console that comes in one piece.
func scan(t *testing.T, table []recogniser, console string) []Finding {
	t.Helper()
	s := newScanner(nil, table)
	if n, err := s.Write([]byte(console)); n != len(console) || err != nil {
		t.Fatalf("Write returned %d, %v", n, err)
	}
	return s.Console().Findings
}

// samples are lines as kernels print them, by the recogniser that must name
// them.
var samples = map[string][]string{
	"panic": {
		"Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
		"Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: f+0x1/0x2",
	},
	"early-panic": {
		"PANIC: early exception 0x0e IP 10:ffffffff81000000 error 0 cr2 0x0",
		"PANIC: double fault, error_code: 0x0",
	},
	"kasan":       {"BUG: KASAN: slab-out-of-bounds in kheaders_init+0x3c/0x60 [kheaders]", "BUG: KASAN: invalid-access"},
	"kfence":      {"BUG: KFENCE: use-after-free read in test+0x1/0x2"},
	"kmsan":       {"BUG: KMSAN: uninit-value in test+0x1/0x2"},
	"kcsan":       {"BUG: KCSAN: data-race in f+0x1/0x2 / g+0x3/0x4"},
	"ubsan":       {"UBSAN: shift-out-of-bounds in kheaders.c:12:3"},
	"soft-lockup": {"watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [insmod:57]"},
	"hard-lockup": {"NMI watchdog: Watchdog detected hard LOCKUP on cpu 0", "watchdog: Watchdog detected hard LOCKUP on cpu 1"},
	"rcu-stall": {
		"rcu: INFO: rcu_preempt self-detected stall on CPU",
		"rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
		"rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-... } 21 jiffies s: 5",
		"rcu: INFO: rcu_tasks detected stall, but suppressed full report due to a stuck CSD-lock.",
	},
	"rcu-starved": {"rcu: rcu_preempt kthread starved for 2100 jiffies! g1 f0x0 RCU_GP_WAIT_FQS(5)"},
	"hung-task": {
		"INFO: task insmod:57 blocked for more than 120 seconds.",
		"INFO: task rmmod:58 blocked in I/O wait for more than 120 seconds.",
	},
	"refcount": {"refcount_t: underflow; use-after-free."},
	"cfi": {
		"CFI failure at init_module+0x2c/0x84 [kheaders] (target: fault_takes+0x0/0x8 [kheaders]; expected type: 0x2ba4ecf5)",
		"CFI failure at do_one_initcall+0xdc/0x24c (no target information)",
	},
	"fortify": {
		"detected buffer overflow in memcpy",
		"memcpy: detected buffer overflow: 16 byte write of buffer size 8",
	},
	"usercopy": {
		"usercopy: Kernel memory exposure attempt detected from SLUB object 'kmalloc-16' (offset 0, size 64)!",
		"usercopy: Kernel memory overwrite attempt detected to kernel text (offset 64, size 8)!",
	},
	"list-corruption": {
		"list_add corruption. prev->next should be next (0), but was 1. (prev=2).",
		"list_del corruption. next->prev should be 0, but was 1. (next=2)",
		"list_add double add: new=0, prev=0, next=1.",
	},
	"kmemleak":        {"kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)"},
	"kmemleak-object": {"unreferenced object 0xffff888003a3c000 (size 64):"},
	"proc-entry":      {"proc_dir_entry 'kheaders.tar.xz' already registered"},
	"proc-leak":       {"remove_proc_entry: removing non-empty directory '/proc/a', leaking at least 'b'"},
	"sysfs-duplicate": {"sysfs: cannot create duplicate filename '/module/kheaders'"},
	"slab":            {"BUG kmalloc-64 (Tainted: G           O       ): Poison overwritten", "BUG kheaders (Not tainted): Object already free"},
	"slab-leak":       {"kmem_cache_destroy kheaders: Slab cache still has objects when called from f+0x1/0x2", "Objects remaining in kheaders on __kmem_cache_shutdown()"},
	"lockdep": {
		"WARNING: possible circular locking dependency detected",
		"WARNING: possible recursive locking detected",
		"WARNING: possible irq lock inversion dependency detected",
		"WARNING: inconsistent lock state",
		"WARNING: bad unlock balance detected!",
		"WARNING: bad contention detected!",
		"WARNING: held lock freed!",
		"WARNING: Nested lock was not taken",
		"WARNING: lock held when returning to user space!",
		"WARNING: suspicious RCU usage",
		"WARNING: chain_key collision",
		"WARNING: insmod/57 still has locks held!",
		"[ BUG: Invalid wait context ]",
		"INFO: trying to register non-static key.",
	},
	"lockdep-order":    {"WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected"},
	"null-dereference": {"BUG: kernel NULL pointer dereference, address: 0000000000000000"},
	"page-fault": {
		"BUG: unable to handle page fault for address: ffffc90000200000",
		"BUG: unable to handle kernel paging request at ffffc90000200000",
	},
	"kernel-fault":       {"Unable to handle kernel paging request at virtual address ffff800082000000"},
	"general-protection": {"general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP", "Oops: general protection fault, kernel NULL pointer dereference 0x8: 0000 [#1] SMP"},
	"kernel-bug":         {"kernel BUG at lib/list_debug.c:56!"},
	"stack-overflow":     {"Insufficient stack space to handle exception!", "BUG: stack guard page was hit at 00 (stack is 00..00)"},
	"serror":             {"SError Interrupt on CPU0, code 0x00000000be000011 -- SError"},
	"out-of-memory":      {"guest.test invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE), order=0", "Out of memory: Killed process 57 (guest.test) total-vm:1kB"},
	"page-allocation":    {"insmod: page allocation failure: order:4, mode:0xcc0(GFP_KERNEL)"},
	"internal-error":     {"Internal error: synchronous external abort: 0000000096000010 [#1] PREEMPT SMP"},
	"oops":               {"Oops: invalid opcode: 0000 [#1] PREEMPT SMP", "Oops - BUG"},
	"die":                {"invalid opcode: 0000 [#1] PREEMPT SMP", "divide error: 0000 [#12] SMP"},
	"bug":                {"BUG: scheduling while atomic: insmod/57/0x00000002", "BUG: sleeping function called from invalid context at kernel/x.c:1"},
	"warning": {
		"WARNING: CPU: 0 PID: 57 at kheaders.c:42 kheaders_init+0x20/0x1000 [kheaders]",
		"WARNING: kheaders.c:42 at kheaders_init+0x20/0x1000 [kheaders], CPU#0: insmod/57",
		"mm: WARNING: something is writable and executable",
	},
	"cut-here":    {"------------[ cut here ]------------"},
	"stack-trace": {"Call Trace:", "Call trace:"},
}

// Each recogniser has samples, gives them its name, and is needed for that:
// without it they get another name or none.
func TestRecognisers(t *testing.T) {
	for i, r := range recognisers {
		if len(samples[r.name]) == 0 {
			t.Errorf("%s has no sample", r.name)
		}
		without := slices.Delete(slices.Clone(recognisers), i, i+1)
		for _, sample := range samples[r.name] {
			for _, prefix := range []string{"", "[   12.345678] ", "[   12.345678][   T57] ", "<4>[    1.000000][    C0] ", "half a line of a program"} {
				found := scan(t, recognisers, prefix+sample+"\n")
				if len(found) != 1 || found[0].Name != r.name || found[0].Panic != r.panic {
					t.Errorf("%q gives %+v, want one %s", prefix+sample, found, r.name)
					continue
				}
				if prefix != "half a line of a program" && found[0].Title != sample {
					t.Errorf("%q has the title %q", prefix+sample, found[0].Title)
				}
			}
			if found := scan(t, without, sample+"\n"); len(found) == 1 && found[0].Name == r.name {
				t.Errorf("%q is %s without its recogniser", sample, r.name)
			}
		}
		for _, text := range r.any {
			if !slices.ContainsFunc(samples[r.name], func(s string) bool { return strings.Contains(s, text) }) {
				t.Errorf("no sample of %s has %q", r.name, text)
			}
		}
	}
	if len(samples) != len(recognisers) {
		t.Errorf("samples for %d recognisers, there are %d", len(samples), len(recognisers))
	}
}

// What architectures have words for is known here.
func TestWords(t *testing.T) {
	for _, a := range target.All() {
		for name, texts := range a.Oops.Texts {
			i := slices.IndexFunc(recognisers, func(r recogniser) bool { return r.name == name })
			if i < 0 {
				t.Fatalf("%s has words for %q, and no recogniser has that name", a.Name, name)
			}
			for _, text := range texts {
				if !slices.Contains(recognisers[i].any, text) {
					t.Errorf("%s does not know %q of %s", name, text, a.Name)
				}
			}
		}
	}
}

// What healthy kernels print is not taken for trouble.
func TestRecognisersHealthy(t *testing.T) {
	healthy := []string{
		"Kernel command line: console=hvc0 panic=-1 oops=panic",
		"kmemleak: Kernel memory leak detector initialized (mem pool available: 15679)",
		"DEBUG: not a bug",
		"PCI: [Firmware Bug]: ACPI region does not cover the entire command/response buffer",
		"kheaders: loading out-of-tree module taints kernel.",
		"kheaders: module verification failed: signature and/or required key missing - tainting kernel",
		"rcu: Hierarchical RCU implementation.",
		"INFO: nothing at all is blocked",
		"Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar",
		"debug: unmapping init [mem 0xffffffff82000000-0xffffffff82200000]",
		"clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc-early' as unstable",
		"reboot: Restarting system",
		"new suspected memory leaks",
		"module already registered",
		"in lock order detected",
		"sector 12 [#1]",
	}
	for _, line := range healthy {
		if found := scan(t, recognisers, line+"\n"); found != nil {
			t.Errorf("%q is taken for %+v", line, found)
		}
	}
}

// However a console is cut into pieces, and whatever ends its lines, the same
// is found in it.
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

// A report is found wherever it begins in a long line, once.
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

// One report with several telling lines is one finding, named by the most
// telling of them; a second report is a second finding.
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

// A flood of warnings does not hide the panic behind it.
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
	feed(10)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if _, err := s.Write([]byte("\nKernel panic - not syncing: after all that\n")); err != nil {
		t.Fatal(err)
	}
	if found := s.Console().Findings; len(found) != 1 || !found[0].Panic {
		t.Errorf("found %+v", found)
	}
}

// The last lines are kept, those that say nothing are not.
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

// What tests announce on the console beats what the events say; a marker that
// is none is a line like others.
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

func TestParseAllowlist(t *testing.T) {
	const good = "# comment\n\nwarning: CPU#0 is odd # known: upstream fixes it in 6.13\n hung-task: kworker # slow disk\n"
	got, err := ParseAllowlist(strings.NewReader(good))
	want := Allowlist{
		{"warning", "CPU#0 is odd", "known: upstream fixes it in 6.13"},
		{"hung-task", "kworker", "slow disk"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{
		"warning: something",
		"warning: something # ",
		"warning # why",
		"warning:  # why",
		"panic: not syncing # never",
		"no-such: text # why",
		strings.Repeat("x", 1<<17),
	} {
		if list, err := ParseAllowlist(strings.NewReader(bad)); err == nil {
			t.Errorf("%.40q is accepted: %v", bad, list)
		}
	}
}

// A finding is forgiven only by name and text, and only when there is no sign
// of anything else in it.
func TestAllowlist(t *testing.T) {
	list := Allowlist{{Name: "warning", Text: "benign", Reason: "known"}, {Name: "panic", Text: "benign", Reason: "no"}}
	tests := []struct {
		console string
		want    string
	}{
		{"WARNING: benign\n", "known"},
		{"------------[ cut here ]------------\nWARNING: benign\nCall Trace:\n", "known"},
		{"WARNING: malign\n", ""},
		{"BUG: benign\n", ""},
		{"Kernel panic - not syncing: benign\n", ""},
		{"WARNING: benign\nOops: 0000\n", ""},
		{"WARNING: benign\nunreferenced object 0x0\n", ""},
	}
	for _, tt := range tests {
		s := NewScanner(list)
		_, _ = s.Write([]byte(tt.console))
		if got := s.Console().Findings[0].Allowed; got != tt.want {
			t.Errorf("%q is allowed for %q, want %q", tt.console, got, tt.want)
		}
	}
	// A bare warning inside a report of another kind is a sign of its own.
	lockdep := Allowlist{{Name: "lockdep", Text: "suspicious", Reason: "known"}}
	s := NewScanner(lockdep)
	_, _ = s.Write([]byte("WARNING: suspicious RCU usage\nWARNING: something else\n"))
	if f := s.Console().Findings[0]; f.Allowed != "" {
		t.Errorf("%+v is allowed", f)
	}
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
