// SPDX-License-Identifier: BSD-3-Clause

package kmsg

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		in   string
		want Record
		bad  bool
	}{
		{in: "6,339,5140900,-;NET: Registered\n", want: Record{Level: 6, Sequence: 339, Text: "NET: Registered"}},
		{in: "4,0,1,-,caller=T1;a;b\n SUBSYSTEM=acpi\n", want: Record{Level: 4, Text: "a;b"}},
		{in: "14,7,2,-;from user space\n", want: Record{Level: 6, Facility: 1, Sequence: 7, Text: "from user space"}},
		{in: "", bad: true},
		{in: "6,1,2,-", bad: true},
		{in: "6,1;text", bad: true},
		{in: "x,1,2,-;text", bad: true},
		{in: "6,x,2,-;text", bad: true},
	}
	for _, tt := range tests {
		got, err := Parse(tt.in)
		if got != tt.want || (err != nil) != tt.bad {
			t.Errorf("Parse(%q) = %+v, %v; want %+v, bad %v", tt.in, got, err, tt.want, tt.bad)
		}
	}
}

func TestJudgements(t *testing.T) {
	tests := []struct {
		text                       string
		notice, background, broken bool
	}{
		{text: "kheaders: loading out-of-tree module taints kernel.", notice: true},
		{text: "kheaders: module verification failed: signature and/or required key missing - tainting kernel", notice: true},
		{text: "other: loading out-of-tree module taints kernel."},
		{text: "kheaders: loaded"},
		{text: "random: crng init done", background: true},
		{text: "tsc: Refined TSC clocksource calibration: 2000.000 MHz", background: true},
		{text: "WARNING: CPU: 0 PID: 1 at fs/proc/generic.c:715 remove_proc_entry+0x1/0x2", broken: true},
		{text: "BUG: unable to handle page fault for address: 0", broken: true},
		{text: "rcu: INFO: rcu_sched self-detected stall on CPU", broken: true},
		{text: "usercopy: Kernel memory exposure attempt detected from SLUB object", broken: true},
		{text: "Run /init as init process"},
	}
	for _, tt := range tests {
		r := Record{Text: tt.text}
		if got := r.TaintNotice("kheaders"); got != tt.notice {
			t.Errorf("%q: notice %v, want %v", tt.text, got, tt.notice)
		}
		if got := r.Background(); got != tt.background {
			t.Errorf("%q: background %v, want %v", tt.text, got, tt.background)
		}
		if got := r.Trouble(); got != tt.broken {
			t.Errorf("%q: trouble %v, want %v", tt.text, got, tt.broken)
		}
	}
}

// The host judges the console by the same lines.
func TestTrouble(t *testing.T) {
	for name, want := range map[string]bool{"harmless": false, "reports": true} {
		text, err := os.ReadFile("../../../harness/verdict/testdata/lines/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSuffix(line, "\n")
			if strings.HasPrefix(line, "#") {
				continue
			}
			if _, report, ok := strings.Cut(line, "\t"); ok && want {
				line = report
			}
			if got := (Record{Text: line}).Trouble(); got != want {
				t.Errorf("%q: trouble %v, want %v", line, got, want)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("6,339,5140900,-;NET: Registered\n")
	f.Add("4,0,1,-,caller=T1;a;b\n SUBSYSTEM=acpi\n")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil && r != (Record{}) {
			t.Errorf("Parse(%q) = %+v along with error %v", s, r, err)
		}
		if r.Level < 0 || r.Level > 7 {
			t.Errorf("Parse(%q): level %d", s, r.Level)
		}
	})
}

func TestWithout(t *testing.T) {
	texts := []string{"harmless", "odd"}
	tests := []struct{ name, log, want string }{
		{"nothing", "a b c", "a b c"},
		{"a line", "a odd b", "a b"},
		{"a report", "a BEGIN harmless x END b", "a b"},
		{"another report", "BEGIN bad x END", "BEGIN bad x END"},
		{"a line before another report", "odd x BEGIN bad END", "x BEGIN bad END"},
		{"two reports", "BEGIN odd END BEGIN bad END BEGIN harmless END", "BEGIN bad END"},
		{"a report cut short", "BEGIN odd x", "x"},
	}
	marks := strings.NewReplacer("BEGIN", reportBegin, "END", reportEnd+"0 ]---")
	records := func(log string) []Record {
		var all []Record
		for word := range strings.FieldsSeq(log) {
			all = append(all, Record{Text: marks.Replace(word)})
		}
		return all
	}
	for _, tt := range tests {
		if got, want := Without(records(tt.log), texts), records(tt.want); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", tt.name, got, want)
		}
	}
	if got := Without(records("a odd"), nil); len(got) != 2 {
		t.Errorf("without a list, %v is left", got)
	}
}
