// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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

// A finding is allowed only by name and text, and only if it shows no sign of
// anything else.
func TestAllowlist(t *testing.T) {
	list := Allowlist{{Name: "warning", Text: "benign", Reason: "known"}, {Name: "panic", Text: "benign", Reason: "no"}}
	tests := []struct {
		console string
		want    string
	}{
		{"[ 1.0] WARNING: benign\n", "known"},
		{"------------[ cut here ]------------\n[ 1.0] WARNING: benign\nCall Trace:\n", "known"},
		{"[ 1.0] WARNING: malign\n", ""},
		{"[ 1.0] BUG: benign\n", ""},
		{"Kernel panic - not syncing: benign\n", ""},
		{"[ 1.0] WARNING: benign\nOops: 0000\n", ""},
		{"[ 1.0] WARNING: benign\nunreferenced object 0x0\n", ""},
	}
	for _, tt := range tests {
		s := NewScanner(list)
		_, _ = s.Write([]byte(tt.console))
		if got := s.Console().Findings[0].Allowed; got != tt.want {
			t.Errorf("%q is allowed for %q, want %q", tt.console, got, tt.want)
		}
	}
	// A bare warning inside another kind of report is a sign of its own.
	lockdep := Allowlist{{Name: "lockdep", Text: "suspicious", Reason: "known"}}
	s := NewScanner(lockdep)
	_, _ = s.Write([]byte("WARNING: suspicious RCU usage\n[ 1.0] WARNING: something else\n"))
	if f := s.Console().Findings[0]; f.Allowed != "" {
		t.Errorf("%+v is allowed", f)
	}
}
