// SPDX-License-Identifier: BSD-3-Clause

// Package verdict decides what a guest's run was worth. It is pure: bytes from
// the event port go through a [Decoder] into a [Recorder], bytes from the
// console go into a [Scanner], and [Decide] turns what both kept, together with
// QEMU's exit, into one typed verdict.
//
// It fails closed: a run passes only if everything that a healthy run shows was
// seen, once, in order, and nothing else.
package verdict

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Verdict is the judgement on one cell of the matrix.
type Verdict string

// The verdicts. If several apply, the first one in [Precedence] is given, and
// the others stay in [Result.Problems].
const (
	// Pass: every declared test reported, and nothing went wrong.
	Pass Verdict = "pass"
	// TestFailed: a test failed or was skipped without a typed reason, the test
	// binary ended badly, or the guest's headers are not the host's.
	TestFailed Verdict = "test-failed"
	// KernelPanic: the kernel said so on the console or through pvpanic.
	KernelPanic Verdict = "kernel-panic"
	// KernelSplat: an oops, a warning, a sanitizer's or lockdep's report, a
	// stall, or an out-of-memory kill is on the console.
	KernelSplat Verdict = "kernel-splat"
	// BootHang: the guest never reported anything and had to be killed.
	BootHang Verdict = "boot-hang"
	// Timeout: the guest was alive, but had to be killed.
	Timeout Verdict = "timeout"
	// MissingResults: the guest's report is incomplete, or not what a healthy
	// guest sends.
	MissingResults Verdict = "missing-results"
	// BuildFailed: a build failed, so there was nothing to boot.
	BuildFailed Verdict = "build-failed"
	// InfraError: the harness, QEMU or the machine could not do its work.
	InfraError Verdict = "infra-error"
)

// precedence is what [Precedence] returns.
var precedence = []Verdict{
	BuildFailed, KernelPanic, KernelSplat, InfraError, BootHang, Timeout, TestFailed, MissingResults, Pass,
}

// Precedence lists all verdicts, strongest first.
//
// What the kernel itself says comes before its possible consequences: a panic
// explains a timeout, missing results and a killed QEMU. Our own trouble comes
// next, because it may explain what the guest did not report, and must not be
// blamed on the kernel. A failed test says more than missing results, because a
// test that crashes takes the later ones with it.
func Precedence() []Verdict { return slices.Clone(precedence) }

// Status is how a test ended, from the host's point of view.
type Status string

// The states of a test after the run.
const (
	StatusPass Status = "pass"
	StatusFail Status = "fail"
	StatusSkip Status = "skip"
	// StatusUnfinished: it started, and its end was not reported.
	StatusUnfinished Status = "unfinished"
	// StatusMissing: it was declared and never started.
	StatusMissing Status = "missing"
)

// Test is one test's result.
type Test struct {
	// Name is the full name. Subtests are Parent/Child.
	Name string `json:"name"`
	// Status is how it ended.
	Status Status `json:"status"`
	// Seconds is its duration as measured in the guest.
	Seconds float64 `json:"seconds"`
	// NotApplicable is the typed reason for a skip: the text after
	// "not-applicable:" in the test's output.
	NotApplicable string `json:"not_applicable,omitempty"`
	// Output is the end of what it printed, at most 8 KiB.
	Output string `json:"output,omitempty"`
}

// Attr is a fact that the guest reported.
type Attr struct {
	// Test is the test that reported it; empty if it was the agent.
	Test  string `json:"test,omitempty"`
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Result is the judgement and what it is based on.
type Result struct {
	Verdict Verdict `json:"verdict"`
	// Reason is the verdict's cause in one line.
	Reason string `json:"reason"`
	// Problems has every reason against a pass, each as "verdict: text", the
	// decisive one first, at most 32. It is empty for a pass.
	Problems []string `json:"problems,omitempty"`
	// Tests are the tests in the order in which they started, then those that
	// were declared and never started.
	Tests []Test `json:"tests,omitempty"`
	// Attrs are the facts that the guest reported, in order.
	Attrs []Attr `json:"attrs,omitempty"`
	// Findings are what the console scanner recognised, including what an
	// allowlist forgives.
	Findings []Finding `json:"findings,omitempty"`
	// GuestSHA256 is the archive's digest as read in the guest; empty if it was
	// not reported.
	GuestSHA256 string `json:"-"`
	// HelloUptime is the guest's uptime in seconds when its agent first
	// reported; zero if it never did.
	HelloUptime float64 `json:"hello_uptime_seconds,omitempty"`
}

// Failed is the result of a cell that was never booted: v is [BuildFailed] or
// [InfraError], and err's text becomes the reason.
func Failed(v Verdict, err error) Result {
	reason := oneLine(err.Error())
	return Result{Verdict: v, Reason: reason, Problems: []string{string(v) + ": " + reason}}
}

// maxReason is the longest reason in bytes.
const maxReason = 400

// oneLine makes text fit on one line of a terminal: it folds white space,
// replaces unprintable characters with a question mark, and bounds the length.
func oneLine(s string) string {
	return clip(Printable(strings.Join(strings.Fields(s), " ")), maxReason)
}

// Printable replaces what a terminal would act on: guests write part of what we
// print.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
}

// clip cuts s to at most n bytes, at a rune boundary, and marks the cut.
func clip(s string, n int) string {
	const mark = "…"
	if len(s) <= n {
		return s
	}
	cut := n - len(mark)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + mark
}

// Finding is trouble that the kernel reported on the console.
type Finding struct {
	// Name is the recogniser's: kasan, warning, soft-lockup and so on.
	Name string `json:"name"`
	// Panic says that the kernel panicked.
	Panic bool `json:"panic,omitempty"`
	// Title is the line that says what happened, without its timestamp.
	Title string `json:"title"`
	// Test is the test that was running, or empty.
	Test string `json:"test,omitempty"`
	// Uptime is the report's timestamp in seconds, or -1 without one.
	Uptime float64 `json:"uptime_seconds"`
	// Lines are the report's first lines: at most 48, of at most 256 bytes each.
	Lines []string `json:"lines"`
	// Annotated are the lines with the source lines for their addresses, if the
	// kernel has debug information.
	Annotated []string `json:"annotated_lines,omitempty"`
	// Signs are the names of all recognisers that matched one of its lines.
	Signs []string `json:"signs"`
	// Allowed is the allowlist's reason for ignoring it, or empty.
	Allowed string `json:"allowed,omitempty"`
}
