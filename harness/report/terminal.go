// SPDX-License-Identifier: BSD-3-Clause

package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/kheaders/kheaders/harness/verdict"
)

// How much Explain says about one cell.
const (
	maxAlso  = 4
	maxLines = 12
)

// Table writes the table at the end of a run: one line for each cell.
func (r Run) Table(w io.Writer) error {
	// A column with the same value everywhere is left out.
	profiles := slices.ContainsFunc(r.Cells, func(c Cell) bool { return c.Profile != r.Cells[0].Profile })
	var buf strings.Builder
	tab := tabwriter.NewWriter(&buf, 0, 0, 2, ' ', 0)
	row := func(arch, kernel, profile, mode, accel, tests, boot, verdict string) {
		cols := []string{arch, kernel}
		if profiles {
			cols = append(cols, profile)
		}
		// The tabwriter keeps errors for Flush.
		_, _ = fmt.Fprintln(tab, strings.Join(append(cols, mode, accel, tests, boot, verdict), "\t"))
	}
	row("ARCH", "KERNEL", "PROFILE", "MODE", "ACCEL", "TESTS", "BOOT TO VERDICT", "VERDICT")
	for i := range r.Cells {
		c := &r.Cells[i]
		kernel := c.Release
		if kernel == "" {
			kernel = c.Kernel
		}
		boot := ""
		if c.BootSeconds > 0 {
			boot = fmt.Sprintf("%.2f s", c.BootSeconds)
		}
		row(c.Arch, kernel, c.Profile, c.Mode, dash(c.Accel), dash(count(c.Tests)), dash(boot), string(c.Verdict))
	}
	if err := tab.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, buf.String())
	return err
}

// Explain writes, for each cell that did not pass, the verdict with its reason,
// the lines that matter, the logs, and the command that runs the cell again.
func (r Run) Explain(w io.Writer) error {
	var b strings.Builder
	for i := range r.Cells {
		c := &r.Cells[i]
		if c.Verdict == verdict.Pass {
			continue
		}
		line := func(format string, args ...any) {
			b.WriteString(verdict.Printable(fmt.Sprintf(format, args...)) + "\n")
		}
		line("error: %s: %s", c.Name(), c.Summary())
		for _, p := range c.Problems[min(1, len(c.Problems)):min(1+maxAlso, len(c.Problems))] {
			line("  also: %s", p)
		}
		if n := len(c.Problems) - 1 - maxAlso; n > 0 {
			line("  and %d more in results.json", n)
		}
		for _, l := range c.evidence() {
			line("  | %s", l)
		}
		for _, log := range c.Logs {
			line("  log: %s", log)
		}
		if c.Repeat != "" {
			line("  again: %s", c.Repeat)
		}
		if c.Hint != "" {
			line("hint: %s", c.Hint)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// evidence returns the lines that matter most: what a program said, else the
// kernel's first report, else the end of what the first failed test printed.
func (c *Cell) evidence() []string {
	if len(c.Lines) > 0 {
		return c.Lines
	}
	for _, f := range c.Findings {
		if f.Allowed != "" {
			continue
		}
		lines := f.Lines
		if f.Annotated != nil {
			lines = f.Annotated
		}
		return lines[:min(len(lines), maxLines)]
	}
	for _, status := range []verdict.Status{verdict.StatusFail, verdict.StatusUnfinished} {
		for _, t := range c.Tests {
			if t.Status != status || parentOfFailed(c.Tests, t.Name) {
				continue
			}
			if lines := outputLines(t); len(lines) > 0 {
				return lines[max(0, len(lines)-maxLines):]
			}
		}
	}
	return nil
}

// parentOfFailed reports whether a subtest of the test failed: that one says
// more.
func parentOfFailed(tests []verdict.Test, name string) bool {
	return slices.ContainsFunc(tests, func(t verdict.Test) bool {
		return t.Status == verdict.StatusFail && strings.HasPrefix(t.Name, name+"/")
	})
}

// outputLines returns what a test printed as lines, without the empty ones.
func outputLines(t verdict.Test) []string {
	var lines []string
	for line := range strings.Lines(t.Output) {
		if line = strings.TrimRight(line, " \t\r\n"); line != "" {
			lines = append(lines, verdict.Printable(line))
		}
	}
	return lines
}

// Progress returns one line about a test that has just ended, without
// indentation:
//
//	ok    TestRead/short  0.01 s
func Progress(t verdict.Test) string {
	word := map[verdict.Status]string{
		verdict.StatusPass: "ok", verdict.StatusSkip: "skip", verdict.StatusFail: "FAIL",
	}[t.Status]
	if word == "" {
		word = string(t.Status)
	}
	line := fmt.Sprintf("%-4s  %s  %.2f s", word, t.Name, t.Seconds)
	if t.NotApplicable != "" {
		line += "  (" + t.NotApplicable + ")"
	}
	return verdict.Printable(line)
}

// count says how many tests passed, out of those that apply.
func count(tests []verdict.Test) string {
	if len(tests) == 0 {
		return ""
	}
	passed, skipped := 0, 0
	for _, t := range tests {
		switch {
		case t.Status == verdict.StatusPass:
			passed++
		case t.Status == verdict.StatusSkip && t.NotApplicable != "":
			skipped++
		}
	}
	s := fmt.Sprintf("%d/%d", passed, len(tests)-skipped)
	if skipped > 0 {
		s += fmt.Sprintf(" (%d n/a)", skipped)
	}
	return s
}

// dash stands for an unknown value.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
