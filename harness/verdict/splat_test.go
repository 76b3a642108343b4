// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// programs are lines that programs print on the console, without a time.
var programs = []string{
	"WARNING: foo",
	"BUG: bar",
	"main.go:12: WARNING: CPU: 0 PID: 1 at a.c:1 f",
	"    load_test.go:12: BUG: KASAN: use-after-free was expected",
	"--- FAIL: TestLoad: WARNING: possible recursive locking detected",
	"grep: kernel BUG at a.c:1!",
	"the log has no Call Trace: it is clean",
	"looking for general protection fault",
	"apt: WARNING: apt does not have a stable CLI interface. Use with caution in scripts.",
	"WARNING: terminal is not fully functional",
	"WARNING: DATA RACE",
	"agent: BUG: this cannot be",
	"Oops, something went wrong",
}

// onlyStamped are reports that are told from a program's text by their time.
var onlyStamped = map[string]string{
	"WARNING: on purpose": "warning",
	"WARNING: kernel stack regs at (____ptrval____) in insmod:57 has bad 'bp' value": "warning",
	"WARNING: can't access registers at asm_exc_int3+0x35/0x40":                      "warning",
	"BUG: something new in 6.20":                                                     "bug",
	"kheaders: BUG: the kernel's own words":                                          "bug",
	"mm/slub: BUG: the kernel's own words":                                           "bug",
}

// stamps are what printk puts before a message.
var stamps = []string{"[    0.000000] ", "[12345.678901] ", "[    1.000000][    T1] ", "[    1.000000][  C12] ", "[    T1] ", "<4>[    1.000000] ", half + "[    1.000000] "}

// lines returns the lines of a table that tests/guest/kmsg shares.
func lines(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "lines", name))
	if err != nil {
		t.Fatal(err)
	}
	list := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	return slices.DeleteFunc(list, func(l string) bool { return strings.HasPrefix(l, "#") })
}

// first returns the name of the one finding in a line, or nothing.
func first(t *testing.T, line string) string {
	t.Helper()
	var names []string
	for _, f := range scan(t, recognisers, line+"\n") {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// What kernels and programs say without trouble is no report.
func TestHarmless(t *testing.T) {
	for _, line := range lines(t, "harmless") {
		for _, stamp := range append(stamps, "") {
			if found := first(t, stamp+line); found != "" {
				t.Errorf("%q is taken for %s", stamp+line, found)
			}
		}
	}
	for _, line := range programs {
		if found := first(t, line); found != "" {
			t.Errorf("%q is taken for %s", line, found)
		}
	}
	// A long command line is one to its end.
	long := strings.Repeat("x", 3*maxPiece)
	if found := first(t, "[    0.000000] Kernel command line: "+long+" [    0.000000] BUG: x Kernel panic - not syncing "+long); found != "" {
		t.Errorf("the end of a long command line is taken for %s", found)
	}
	if found := first(t, "[    0.000000] Kernel command line: "+long+"\nBUG: KASAN: x"); found != "kasan" {
		t.Errorf("after a long command line, a report is %q", found)
	}
}

func TestReports(t *testing.T) {
	for _, line := range lines(t, "reports") {
		want, line, _ := strings.Cut(line, "\t")
		for _, stamp := range append(stamps, "") {
			if found := first(t, stamp+line); found != want {
				t.Errorf("%q is %q, want %q", stamp+line, found, want)
			}
		}
	}
	for line, want := range onlyStamped {
		for _, stamp := range stamps {
			if found := first(t, stamp+line); found != want {
				t.Errorf("%q is %q, want %q", stamp+line, found, want)
			}
		}
		if found := first(t, line); found != "" {
			t.Errorf("%q is %q, and may be a program's", line, found)
		}
	}
}
