// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kheaders/kheaders/initramfs/wire"
)

// maxProblems is how many problems a result lists.
const maxProblems = 32

// problem is one reason against a pass.
type problem struct {
	verdict Verdict
	text    string
}

// judge collects problems.
type judge struct {
	Evidence
	problems []problem
	// without is a rule to leave out, as named by rule, for the test that every
	// rule is needed.
	without string
}

// Decide returns the verdict. Each rule looks for its own kind of trouble. All
// that they find is listed, and [Precedence] says what decides.
func Decide(e Evidence) Result { return decide(e, "") }

// decide is Decide without one rule.
func decide(e Evidence, without string) Result {
	j := &judge{Evidence: e, without: without}
	j.console()
	j.exit()
	j.protocol()
	j.tests()
	j.binary()
	j.digest()

	res := Result{
		Verdict:     Pass,
		Tests:       j.all(),
		Attrs:       e.Record.Attrs,
		Findings:    e.Console.Findings,
		GuestSHA256: j.guestDigest(),
		HelloUptime: e.Record.HelloUptime,
	}
	if len(j.problems) == 0 {
		res.Reason = summary(res.Tests, len(res.Findings))
		return res
	}
	slices.SortStableFunc(j.problems, func(a, b problem) int {
		return cmp.Compare(slices.Index(precedence, a.verdict), slices.Index(precedence, b.verdict))
	})
	res.Verdict, res.Reason = j.problems[0].verdict, oneLine(j.problems[0].text)
	for _, p := range j.problems[:min(len(j.problems), maxProblems)] {
		res.Problems = append(res.Problems, string(p.verdict)+": "+oneLine(p.text))
	}
	return res
}

// add records a problem.
func (j *judge) add(v Verdict, format string, args ...any) {
	if rule(v, format) != j.without {
		j.problems = append(j.problems, problem{v, fmt.Sprintf(format, args...)})
	}
}

// rule names a rule by its verdict and text.
func rule(v Verdict, format string) string { return string(v) + ": " + format }

// console judges what the kernel printed.
func (j *judge) console() {
	// The first report is the likeliest cause of a panic that follows.
	var cause *Finding
	for i := range j.Console.Findings {
		f := &j.Console.Findings[i]
		switch {
		case f.Allowed != "":
		case !f.Panic:
			j.add(KernelSplat, "%s%s", f.Title, during(f.Test))
			if cause == nil {
				cause = f
			}
		case cause != nil:
			j.add(KernelPanic, "%s, after: %s%s", f.Title, cause.Title, during(cause.Test))
		default:
			j.add(KernelPanic, "%s%s", f.Title, during(f.Test))
		}
	}
	if n := j.Console.Dropped; n > 0 {
		j.add(KernelSplat, "%d more reports on the console", n)
	}
}

// exit judges how QEMU ended.
func (j *judge) exit() {
	x := j.Exit
	spoke := j.Record.Hello || j.Record.Malformed > 0
	if x.Err != nil && x.Killed == NotKilled {
		j.add(InfraError, "running QEMU: %v", x.Err)
		return
	}
	switch x.Killed {
	case NotKilled:
		j.ended(spoke)
	case KilledSilent:
		if spoke {
			j.add(Timeout, "nothing heard for %s%s", seconds(x.LimitSeconds), j.last())
		} else {
			j.add(BootHang, "the guest never spoke and printed nothing for %s%s", seconds(x.LimitSeconds), j.last())
		}
	case KilledTest:
		j.add(Timeout, "a test took longer than %s%s", seconds(x.LimitSeconds), j.last())
	case KilledDeadline:
		if spoke || j.Console.Bytes > 0 {
			j.add(Timeout, "the run took longer than %s%s", seconds(x.LimitSeconds), j.last())
		} else {
			j.add(BootHang, "nothing from the guest within %s", seconds(x.LimitSeconds))
		}
	case KilledFlood:
		j.add(MissingResults, "the guest sent more than %d MiB of events%s", MaxEvents>>20, j.last())
	case KilledInterrupt:
		j.add(InfraError, "%v%s", x.Err, j.last())
	default:
		j.add(InfraError, "QEMU was ended for an unknown reason, %q", string(x.Killed))
	}
}

// ended judges a QEMU that ended by itself.
func (j *judge) ended(spoke bool) {
	x := j.Exit
	said := qemuError(x.Stderr)
	switch {
	case x.Code < 0 || strings.Contains(said, "terminating on signal"):
		// QEMU treats SIGTERM as a request, and exits with 0.
		j.add(InfraError, "QEMU was ended by a signal that was not ours%s%s", because(x.Signal), because(said))
	case x.Code == 0:
	case x.Code == 1 && said == "" && (spoke || j.Console.Bytes > 0):
		j.add(KernelPanic, "QEMU exited with 1 and no error, as it does when the guest panics%s", j.last())
	default:
		j.add(InfraError, "QEMU exited with %d%s", x.Code, because(said))
	}
}

// protocol judges whether the guest's report is complete.
func (j *judge) protocol() {
	r := &j.Record
	if r.Hello && r.Version != wire.Version {
		j.add(InfraError, "the guest agent speaks version %d of the protocol, not %d: its image is stale", r.Version, wire.Version)
	}
	switch {
	case r.Fail == "":
	case r.Deadline:
		j.add(Timeout, "%s%s", r.Fail, j.unfinished())
	default:
		j.add(MissingResults, "%s%s", r.Fail, j.unfinished())
	}
	for _, b := range r.Breaches {
		j.add(MissingResults, "%s", b)
	}
	if n := r.BreachCount - len(r.Breaches); n > 0 {
		j.add(MissingResults, "%d more departures from the protocol", n)
	}
	switch {
	case !r.Hello:
		j.add(MissingResults, "the guest agent never spoke%s", j.last())
	case !r.Exit && !r.Done:
		j.add(MissingResults, "the guest stopped before its tests did%s", j.last())
	case !r.Exit:
		j.add(MissingResults, "no exit status of the test binary")
	case !r.Done:
		j.add(MissingResults, "the guest never said that it was done%s", j.last())
	}
}

// tests compares the tests with what was declared.
func (j *judge) tests() {
	if len(j.Declared) == 0 {
		j.add(MissingResults, "no test is declared: a run without tests proves nothing")
	}
	passed := 0
	reported := map[string]Status{}
	for _, t := range j.Record.Tests {
		reported[t.Name] = t.Status
		top, _, sub := strings.Cut(t.Name, "/")
		if !sub && !slices.Contains(j.Declared, t.Name) {
			j.add(MissingResults, "%s reported, but is not declared", t.Name)
		}
		switch t.Status {
		case StatusPass:
			if top == t.Name {
				passed++
			}
		case StatusFail:
			// The subtest says more than its parent can.
			if !j.failedBelow(t.Name) {
				j.add(TestFailed, "%s failed%s", t.Name, because(lastWords(t.Output)))
			}
		case StatusSkip:
			if t.NotApplicable == "" {
				j.add(TestFailed, "%s was skipped without a not-applicable: reason", t.Name)
			}
		default:
			j.add(MissingResults, "%s started and did not end", t.Name)
		}
	}
	for _, name := range j.Declared {
		if _, ok := reported[name]; !ok {
			j.add(MissingResults, "%s is declared, but did not report", name)
		}
	}
	if len(j.Declared) > 0 && passed == 0 {
		j.add(MissingResults, "not one test passed")
	}
}

// binary judges how the test binary ended.
func (j *judge) binary() {
	r := &j.Record
	switch {
	case !r.Exit:
	case r.ExitError != "":
		j.add(TestFailed, "the test binary did not exit by itself: %s%s%s", r.ExitError, j.unfinished(), j.crash())
	case r.ExitCode != 0:
		j.add(TestFailed, "the test binary exited with %d%s%s", r.ExitCode, j.unfinished(), j.crash())
	}
}

// digest judges what the guest read.
func (j *judge) digest() {
	if j.SHA256 == "" {
		j.add(InfraError, "the host took no digest of the archive")
		return
	}
	found := false
	for _, a := range j.Record.Attrs {
		if a.Key != AttrSHA256 {
			continue
		}
		found = true
		if a.Value != j.SHA256 {
			j.add(TestFailed, "the guest read headers with sha256 %s, the host packed %s", clip(a.Value, 64), j.SHA256)
		}
	}
	// If results are missing anyway, that says enough.
	missing := func(p problem) bool { return p.verdict == MissingResults }
	if !found && !slices.ContainsFunc(j.problems, missing) {
		j.add(TestFailed, "the guest did not report the sha256 of its headers")
	}
}

// guestDigest returns the digest that the guest reported, or a wrong one if it
// reported several.
func (j *judge) guestDigest() string {
	digest := ""
	for _, a := range j.Record.Attrs {
		if a.Key == AttrSHA256 && (digest == "" || a.Value != j.SHA256) {
			digest = clip(a.Value, 64)
		}
	}
	return digest
}

// all returns the tests that reported, then those that should have.
func (j *judge) all() []Test {
	tests := slices.Clone(j.Record.Tests)
	for _, name := range j.Declared {
		if !slices.ContainsFunc(tests, func(t Test) bool { return t.Name == name }) {
			tests = append(tests, Test{Name: name, Status: StatusMissing})
		}
	}
	return tests
}

// failedBelow reports whether one of a test's subtests failed.
func (j *judge) failedBelow(name string) bool {
	return slices.ContainsFunc(j.Record.Tests, func(t Test) bool {
		return t.Status == StatusFail && strings.HasPrefix(t.Name, name+"/")
	})
}

// unfinished returns the name of the test that started last and did not end.
func (j *judge) unfinished() string {
	for _, t := range slices.Backward(j.Record.Tests) {
		if t.Status == StatusUnfinished {
			return during(t.Name)
		}
	}
	return ""
}

// crash finds the line in which Go's runtime says why it ended a program.
func (j *judge) crash() string {
	outputs := []string{j.Record.Output}
	for _, t := range slices.Backward(j.Record.Tests) {
		outputs = append(outputs, t.Output)
	}
	for _, output := range outputs {
		for line := range strings.Lines(output) {
			if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
				return because(strings.TrimSpace(line))
			}
		}
	}
	return ""
}

// last says what the guest was doing, going by its events, or else by its
// console.
func (j *judge) last() string {
	if s := j.unfinished(); s != "" {
		return s
	}
	if j.Record.Last != "" {
		return "; the last event was " + j.Record.Last
	}
	if n := len(j.Console.Recent); n > 0 {
		return fmt.Sprintf("; the last line on the console was %q", j.Console.Recent[n-1])
	}
	return "; nothing was printed"
}

// during names the test that was running.
func during(test string) string {
	if test == "" {
		return ""
	}
	return " (in " + test + ")"
}

// because appends what somebody said.
func because(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

// seconds formats a limit.
func seconds(s float64) string { return fmt.Sprintf("%.4g s", s) }

// qemuError returns the first line from QEMU that is not a warning.
func qemuError(stderr string) string {
	for line := range strings.Lines(stderr) {
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, "warning: ") {
			return line
		}
	}
	return ""
}

// lastWords returns the last line of a failed test's output that says
// something, rather than what package testing prints around it.
func lastWords(output string) string {
	words := ""
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", strings.HasPrefix(line, "=== "), strings.HasPrefix(line, "--- "):
		default:
			words = line
		}
	}
	return words
}

// summary returns the reason for a pass.
func summary(tests []Test, allowed int) string {
	passed, skipped := 0, 0
	for _, t := range tests {
		if t.Status == StatusPass {
			passed++
		} else {
			skipped++
		}
	}
	s := fmt.Sprintf("%d passed", passed)
	if skipped > 0 {
		s += fmt.Sprintf(", %d not applicable", skipped)
	}
	if allowed > 0 {
		s += fmt.Sprintf(", kernel reports allowed: %d", allowed)
	}
	return s
}
