// SPDX-License-Identifier: BSD-3-Clause

// Package verdict decides what a guest's run was worth. It is pure: bytes from
// the event port go through a [Decoder] into a [Recorder], bytes from the
// console into a [Scanner], and [Decide] turns what both kept, with QEMU's
// exit, into one typed verdict.
//
// It fails closed: a run passes only when everything that a healthy run shows
// was seen, once, in order, and nothing else.
package verdict

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Verdict is the judgement on one cell of the matrix.
type Verdict string

// The verdicts. When several apply, the one that stands first in
// [Precedence] is given, and the others stay in [Result.Problems].
const (
	// Pass: every declared test reported, and nothing went wrong.
	Pass Verdict = "pass"
	// TestFailed: a test failed, was skipped without a typed reason, or the
	// test binary ended badly; or the headers read in the guest are not the
	// host's.
	TestFailed Verdict = "test-failed"
	// KernelPanic: the kernel said so on the console or through pvpanic.
	KernelPanic Verdict = "kernel-panic"
	// KernelSplat: an oops, a warning, a sanitizer's or lockdep's report, a
	// stall, or an out-of-memory kill is on the console.
	KernelSplat Verdict = "kernel-splat"
	// BootHang: the guest never spoke and had to be killed.
	BootHang Verdict = "boot-hang"
	// Timeout: the guest was alive, but had to be killed.
	Timeout Verdict = "timeout"
	// MissingResults: what the guest reported is not complete, or not what a
	// healthy guest reports.
	MissingResults Verdict = "missing-results"
	// BuildFailed: there was nothing to boot, because a build failed.
	BuildFailed Verdict = "build-failed"
	// InfraError: the harness, QEMU or the machine could not do its work.
	InfraError Verdict = "infra-error"
)

// precedence is what [Precedence] returns.
var precedence = []Verdict{
	BuildFailed, KernelPanic, KernelSplat, InfraError, BootHang, Timeout, TestFailed, MissingResults, Pass,
}

// Precedence lists all verdicts, the one that beats the others first.
//
// What the kernel itself says comes before what may follow from it: a panic
// explains a timeout, missing results and a killed QEMU. Trouble of our own
// comes next, since it may explain what the guest did not report, and must not
// be read as a kernel's fault. A test that failed says more than results that
// are missing, since a test that crashes takes the later ones with it.
func Precedence() []Verdict { return slices.Clone(precedence) }

// Status is how a test ended, seen from the host.
type Status string

// The states of a test after the run.
const (
	StatusPass Status = "pass"
	StatusFail Status = "fail"
	StatusSkip Status = "skip"
	// StatusUnfinished: it started and no end was reported.
	StatusUnfinished Status = "unfinished"
	// StatusMissing: it was declared and never started.
	StatusMissing Status = "missing"
)

// Test is one test's result.
type Test struct {
	// Name is the full name; subtests are Parent/Child.
	Name string `json:"name"`
	// Status is how it ended.
	Status Status `json:"status"`
	// Seconds is its duration as measured in the guest.
	Seconds float64 `json:"seconds"`
	// NotApplicable is the typed reason of a skip: the text behind
	// "not-applicable:" in the test's output.
	NotApplicable string `json:"not_applicable,omitempty"`
	// Output is the end of what it printed, at most 8 KiB.
	Output string `json:"output,omitempty"`
}

// Attr is a fact that the guest reported.
type Attr struct {
	// Test is the test that reported it; empty when it was the agent.
	Test  string `json:"test,omitempty"`
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Result is the judgement and what it rests on.
type Result struct {
	Verdict Verdict `json:"verdict"`
	// Reason is the verdict's cause in one line.
	Reason string `json:"reason"`
	// Problems holds everything that stands against a pass, each as
	// "verdict: text", the decisive one first, at most 32. It is empty for a
	// pass.
	Problems []string `json:"problems,omitempty"`
	// Tests are the tests in the order in which they started, then those
	// that were declared and never did.
	Tests []Test `json:"tests,omitempty"`
	// Attrs are the facts the guest reported, in order.
	Attrs []Attr `json:"attrs,omitempty"`
	// Findings are what the console scanner recognised, also those that an
	// allowlist forgives.
	Findings []Finding `json:"findings,omitempty"`
	// GuestSHA256 is the archive's digest as read in the guest; empty when
	// it was not reported.
	GuestSHA256 string `json:"-"`
	// HelloUptime is the guest's uptime in seconds when its agent first
	// spoke; zero when it did not.
	HelloUptime float64 `json:"hello_uptime_seconds,omitempty"`
}

// Failed is the result of a cell that did not get as far as a boot: v is
// [BuildFailed] or [InfraError], and err's text becomes the reason.
func Failed(v Verdict, err error) Result {
	reason := oneLine(err.Error())
	return Result{Verdict: v, Reason: reason, Problems: []string{string(v) + ": " + reason}}
}

// maxReason is the longest reason in bytes.
const maxReason = 400

// oneLine makes text fit for one line of a terminal: white space is folded,
// what is not printable becomes a question mark, the length is bounded.
func oneLine(s string) string {
	return clip(Printable(strings.Join(strings.Fields(s), " ")), maxReason)
}

// Printable replaces what a terminal would act upon: guests write part of what
// we print.
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

// clip cuts s to at most n bytes, at a rune's border, and marks the cut.
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
	// Panic says that it was the kernel's end.
	Panic bool `json:"panic,omitempty"`
	// Title is the line that says what happened, without its timestamp.
	Title string `json:"title"`
	// Test is the test that was running, or empty.
	Test string `json:"test,omitempty"`
	// Uptime is the report's timestamp in seconds, or -1 without one.
	Uptime float64 `json:"uptime_seconds"`
	// Lines are the report's first lines, at most 48 of 256 bytes.
	Lines []string `json:"lines"`
	// Annotated are the lines with the source lines behind the addresses, when
	// the kernel has debug information.
	Annotated []string `json:"annotated_lines,omitempty"`
	// Signs are the names of all recognisers that knew one of its lines.
	Signs []string `json:"signs"`
	// Allowed is the allowlist's reason to ignore it, or empty.
	Allowed string `json:"allowed,omitempty"`
}
