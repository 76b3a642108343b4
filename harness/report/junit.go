// SPDX-License-Identifier: BSD-3-Clause

package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kheaders/kheaders/harness/verdict"
)

// The elements of a JUnit report that Jenkins and GitLab read.
type (
	junitSuites struct {
		XMLName xml.Name `xml:"testsuites"`
		junitCounts
		Suites []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string `xml:"name,attr"`
		Timestamp string `xml:"timestamp,attr"`
		junitCounts
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
	}
	junitCounts struct {
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Errors   int    `xml:"errors,attr"`
		Skipped  int    `xml:"skipped,attr"`
		Time     string `xml:"time,attr"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name    string       `xml:"name,attr"`
		Class   string       `xml:"classname,attr"`
		Time    string       `xml:"time,attr"`
		Failure *junitDetail `xml:"failure"`
		Error   *junitDetail `xml:"error"`
		Skipped *junitDetail `xml:"skipped"`
	}
	junitDetail struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes the run as JUnit XML: a suite for each cell, with a test case
// for each test and one for the verdict.
func (r Run) JUnit(w io.Writer) error {
	all := junitSuites{junitCounts: junitCounts{Time: junitTime(r.Seconds)}}
	for i := range r.Cells {
		s := r.Cells[i].junit(r.Started)
		all.Suites = append(all.Suites, s)
		all.Tests += s.Tests
		all.Failures += s.Failures
		all.Errors += s.Errors
		all.Skipped += s.Skipped
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// junit turns a cell into a suite.
func (c *Cell) junit(started time.Time) junitSuite {
	// A dot would turn what comes before it into a package.
	class := strings.ReplaceAll(c.Name(), ".", "_")
	s := junitSuite{
		Name:        c.Name(),
		Timestamp:   started.UTC().Format("2006-01-02T15:04:05"),
		junitCounts: junitCounts{Time: junitTime(c.BootSeconds)},
	}
	for _, p := range []junitProperty{
		{"arch", c.Arch},
		{"kernel", c.Kernel},
		{"release", c.Release},
		{"profile", c.Profile},
		{"mode", c.Mode},
		{"accelerator", c.Accel},
		{"verdict", string(c.Verdict)},
		{"repeat", c.Repeat},
	} {
		if p.Value != "" {
			s.Properties = append(s.Properties, p)
		}
	}
	add := func(tc junitCase) {
		s.Tests++
		switch {
		case tc.Failure != nil:
			s.Failures++
		case tc.Error != nil:
			s.Errors++
		case tc.Skipped != nil:
			s.Skipped++
		}
		s.Cases = append(s.Cases, tc)
	}
	for _, t := range c.Tests {
		tc := junitCase{Name: t.Name, Class: class, Time: junitTime(t.Seconds)}
		why := strings.TrimPrefix(note(t), "ERROR ")
		switch {
		case t.Status == verdict.StatusPass:
		case t.Status == verdict.StatusSkip && t.NotApplicable != "":
			tc.Skipped = &junitDetail{Message: t.NotApplicable}
		case t.Status == verdict.StatusFail:
			tc.Failure = &junitDetail{Message: "failed", Type: string(t.Status), Text: t.Output}
		default:
			tc.Error = &junitDetail{Message: why, Type: string(t.Status), Text: t.Output}
		}
		add(tc)
	}
	judgement := junitCase{Name: verdictTest, Class: class, Time: junitTime(c.BootSeconds)}
	detail := &junitDetail{Message: c.Reason, Type: string(c.Verdict), Text: c.story()}
	switch c.Verdict {
	case verdict.Pass:
	case verdict.InfraError, verdict.BuildFailed:
		judgement.Error = detail
	default:
		judgement.Failure = detail
	}
	add(judgement)
	return s
}

// story returns everything there is to say about a verdict.
func (c *Cell) story() string {
	lines := append([]string(nil), c.Problems...)
	lines = append(lines, c.evidence()...)
	for _, log := range c.Logs {
		lines = append(lines, "log: "+log)
	}
	if c.Repeat != "" {
		lines = append(lines, "again: "+c.Repeat)
	}
	return strings.Join(lines, "\n")
}

// junitTime formats seconds.
func junitTime(seconds float64) string { return fmt.Sprintf("%.3f", seconds) }
