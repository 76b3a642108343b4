// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Allowed is a known report that does not fail a run.
type Allowed struct {
	// Name is the recogniser whose findings it covers.
	Name string
	// Text must be in the finding's title.
	Text string
	// Reason says why the report is all right.
	Reason string
}

// Allowlist is a list of reports that do not fail a run. A panic can't be
// allowed.
type Allowlist []Allowed

// ParseAllowlist reads a list with one entry per line, as "NAME: TEXT #
// REASON". Empty lines and lines that start with # are skipped. An entry
// without a reason is an error, and so is the name of a recogniser that does
// not exist.
func ParseAllowlist(r io.Reader) (Allowlist, error) {
	var list Allowlist
	sc := bufio.NewScanner(r)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		// The text itself may contain a #, as in CPU#0.
		cut := strings.LastIndex(line, " # ")
		if cut < 0 {
			return nil, fmt.Errorf("allowlist, line %d: no reason; want NAME: TEXT # REASON", n)
		}
		name, text, ok := strings.Cut(line[:cut], ": ")
		text = strings.TrimSpace(text)
		if !ok || text == "" {
			return nil, fmt.Errorf("allowlist, line %d: want NAME: TEXT # REASON", n)
		}
		if !forgivable(name) {
			return nil, fmt.Errorf("allowlist, line %d: no finding that could be allowed is called %q", n, name)
		}
		list = append(list, Allowed{Name: name, Text: text, Reason: strings.TrimSpace(line[cut+3:])})
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("reading the allowlist: %w", err)
	}
	return list, nil
}

// forgivable reports whether findings of that name exist and may be allowed.
func forgivable(name string) bool {
	for i := range recognisers {
		if recognisers[i].name == name {
			return !recognisers[i].panic
		}
	}
	return false
}

// reason returns why a finding is allowed, or nothing if it is not. A report
// with signs of other trouble is not allowed: it may be two reports that ran
// into each other.
func (l Allowlist) reason(f Finding) string {
	if f.Panic {
		return ""
	}
	for _, sign := range f.Signs {
		switch {
		case sign == f.Name, sign == "cut-here", sign == "stack-trace":
		case sign == "warning" && slices.Contains(f.Signs, "cut-here"):
		default:
			return ""
		}
	}
	if i := slices.IndexFunc(l, func(a Allowed) bool { return a.covers(f) }); i >= 0 {
		return l[i].Reason
	}
	return ""
}

// covers reports whether the entry is about the finding.
func (a Allowed) covers(f Finding) bool {
	return a.Name == f.Name && strings.Contains(f.Title, a.Text)
}

// String returns the entry as it is written in the list.
func (a Allowed) String() string { return a.Name + ": " + a.Text + " # " + a.Reason }

// Unused returns the entries that match none of what all runs found. What they
// are about may have been fixed, and would go unnoticed if it came back.
func (l Allowlist) Unused(found []Finding) Allowlist {
	return slices.DeleteFunc(slices.Clone(l), func(a Allowed) bool {
		return slices.ContainsFunc(found, func(f Finding) bool { return f.Allowed != "" && a.covers(f) })
	})
}
