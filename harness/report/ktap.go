// SPDX-License-Identifier: BSD-3-Clause

package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/kheaders/kheaders/harness/verdict"
)

// verdictTest is the name of the test that stands for a cell's verdict in
// formats that only know tests: a cell can fail even though all its tests
// passed.
const verdictTest = "verdict"

// node is a test with its subtests.
type node struct {
	verdict.Test
	// label is the name below its parent.
	label string
	// note follows the result: a directive, or a reason.
	note  string
	below []*node
}

// tree puts tests below their parents. If a test's parent did not report, the
// test goes below the nearest ancestor that did.
func tree(tests []verdict.Test) []*node {
	root := &node{}
	byName := map[string]*node{}
	for _, t := range tests {
		parent, label := root, t.Name
		for i := strings.LastIndexByte(t.Name, '/'); i > 0; i = strings.LastIndexByte(t.Name[:i], '/') {
			if p, ok := byName[t.Name[:i]]; ok {
				parent, label = p, t.Name[i+1:]
				break
			}
		}
		n := &node{Test: t, label: label, note: note(t)}
		byName[t.Name] = n
		parent.below = append(parent.below, n)
	}
	return root.below
}

// note says why a test did not pass.
func note(t verdict.Test) string {
	switch t.Status {
	case verdict.StatusPass, verdict.StatusFail:
		return ""
	case verdict.StatusSkip:
		if t.NotApplicable != "" {
			return "SKIP " + t.NotApplicable
		}
		return "ERROR skipped without a reason"
	case verdict.StatusUnfinished:
		return "ERROR did not end"
	}
	return "ERROR did not report"
}

// KTAP writes the run in the kernel's test format, version 1, as
// Documentation/dev-tools/ktap.rst describes it: a test for each cell, with the
// cell's tests and its verdict below it.
func (r Run) KTAP(w io.Writer) error {
	var cells []*node
	for i := range r.Cells {
		c := &r.Cells[i]
		judgement := &node{
			Test:  verdict.Test{Status: verdict.StatusPass, Output: strings.Join(c.Problems, "\n")},
			label: verdictTest,
			note:  c.Summary(),
		}
		switch c.Verdict {
		case verdict.Pass:
		case verdict.Timeout, verdict.BootHang:
			judgement.Status, judgement.note = verdict.StatusFail, "TIMEOUT "+c.Summary()
		case verdict.InfraError, verdict.BuildFailed:
			judgement.Status, judgement.note = verdict.StatusFail, "ERROR "+c.Summary()
		default:
			judgement.Status = verdict.StatusFail
		}
		cells = append(cells, &node{
			Test:  verdict.Test{Status: judgement.Status},
			label: c.Name(),
			below: append(tree(c.Tests), judgement),
		})
	}
	var b strings.Builder
	ktap(&b, "", cells)
	_, err := io.WriteString(w, b.String())
	return err
}

// ktap writes one level.
func ktap(b *strings.Builder, indent string, nodes []*node) {
	fmt.Fprintf(b, "%sKTAP version 1\n%s1..%d\n", indent, indent, len(nodes))
	for i, n := range nodes {
		if len(n.below) > 0 {
			ktap(b, indent+"  ", n.below)
		}
		result := "ok"
		switch {
		case n.Status == verdict.StatusPass:
		case n.Status == verdict.StatusSkip && n.NotApplicable != "":
		default:
			result = "not ok"
			for _, line := range outputLines(n.Test) {
				fmt.Fprintf(b, "%s# %s\n", indent, line)
			}
		}
		// A description can't contain the character that ends it.
		fmt.Fprintf(b, "%s%s %d %s", indent, result, i+1, verdict.Printable(strings.ReplaceAll(n.label, "#", "_")))
		if n.note != "" {
			fmt.Fprintf(b, " # %s", verdict.Printable(n.note))
		}
		b.WriteByte('\n')
	}
}
