// SPDX-License-Identifier: BSD-3-Clause

package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kheaders/kheaders/harness/verdict"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

// sample is a run with a cell of each kind that a report shows differently. Its
// files are in dir.
func sample(dir string) Run {
	in := func(name string) string { return filepath.Join(dir, name) }
	passed := Cell{
		Arch: "x86_64", Kernel: "debian:6.12", Release: "6.12.43-kheaders", Profile: "fast", Mode: "module",
		Accel: "tcg", AccelWhy: "/dev/kvm printed nothing within 3 s", BootSeconds: 1.98765,
		Digests: Digests{Host: digest, Module: digest}, Dir: in("a"),
		QEMU: "qemu-system-x86_64 -nodefaults", Repeat: "kheaders test --kernel debian:6.12 --arch x86_64",
	}
	passed.AddStage("kernel", 0.0123456)
	passed.AddStage("boot", 1.98765)
	passed.AddArtifact("headers", "/var/cache/kheaders/headers/kheaders.tar.xz", 4347092, digest)
	passed.AddArtifact("initramfs", in("a/initramfs.cpio"), 9000000, digest)
	passed.AddLog(in("a/console.log"))
	passed.AddLog(in("a/console.log"))
	passed.SetResult(verdict.Result{
		Verdict: verdict.Pass, Reason: "3 passed, 1 not applicable", GuestSHA256: digest, HelloUptime: 0.91,
		Tests: []verdict.Test{
			{Name: "TestRead", Status: verdict.StatusPass, Seconds: 0.12, Output: "fine\n"},
			{Name: "TestRead/short", Status: verdict.StatusPass, Seconds: 0.01},
			{Name: "TestRead/short#01", Status: verdict.StatusPass, Seconds: 0.01},
			{Name: "TestKASAN", Status: verdict.StatusSkip, NotApplicable: "the kernel has no KASAN"},
		},
		Attrs: []verdict.Attr{{Test: "TestRead", Key: "sha256", Value: digest}},
	})

	splat := Cell{
		Arch: "arm64", Kernel: "debian:6.12", Release: "6.12.43-kheaders", Profile: "debug", Mode: "module",
		Accel: "tcg", BootSeconds: 12.3, Repeat: "kheaders test --kernel debian:6.12 --arch arm64",
		Logs: []string{in("b/console.log"), in("b/events.jsonl")},
	}
	splat.SetResult(verdict.Result{
		Verdict: verdict.KernelSplat, Reason: "BUG: KASAN: use-after-free in f+0x1/0x2 (in TestRead/<a&b>)",
		Problems: []string{
			"kernel-splat: BUG: KASAN: use-after-free in f+0x1/0x2 (in TestRead/<a&b>)",
			"test-failed: TestRead/<a&b> failed: want 1 <got> 2",
			"missing-results: TestLoad is declared, but did not report",
			"missing-results: 3", "missing-results: 4", "missing-results: 5", "missing-results: 6",
		},
		Tests: []verdict.Test{
			{Name: "TestRead", Status: verdict.StatusFail, Seconds: 0.5, Output: "=== RUN\n"},
			{Name: "TestRead/<a&b>", Status: verdict.StatusFail, Seconds: 0.4, Output: "    read_test.go:1: want 1 <got> 2 \x1b[2J\x00\n\n"},
			{Name: "TestRead/deep/er", Status: verdict.StatusPass},
			{Name: "TestStuck", Status: verdict.StatusUnfinished, Output: "waiting\n"},
			{Name: "TestLazy", Status: verdict.StatusSkip},
			{Name: "TestLoad", Status: verdict.StatusMissing},
			{Name: "TestOrphan/below", Status: verdict.StatusPass},
		},
		Findings: []verdict.Finding{
			{Name: "warning", Title: "WARNING: known", Lines: []string{"WARNING: known"}, Signs: []string{"warning"}, Allowed: "known"},
			{
				Name: "kasan", Title: "BUG: KASAN: use-after-free in f+0x1/0x2", Test: "TestRead/<a&b>", Uptime: 1.25, Signs: []string{"kasan", "stack-trace"},
				Lines: []string{"[    1.250000] BUG: KASAN: use-after-free in f+0x1/0x2", "[    1.250001] Call trace:"},
			},
		},
	})

	hang := Cell{Arch: "arm64", Kernel: "debian:6.1", Profile: "fast", Mode: "module", Accel: "kvm", BootSeconds: 6, Repeat: "again"}
	hang.SetResult(verdict.Result{
		Verdict: verdict.BootHang, Reason: "nothing from the guest within 6 s",
		Problems: []string{"boot-hang: nothing from the guest within 6 s"},
		Tests:    []verdict.Test{{Name: "TestRead", Status: verdict.StatusMissing}},
	})

	build := Cell{Arch: "x86_64", Kernel: "/home/me/linux tree", Profile: "fast", Mode: "module", Repeat: "again", Hint: "run make prepare"}
	build.SetResult(verdict.Failed(verdict.BuildFailed, errors.New("make exited with 2")))

	infra := Cell{Arch: "x86_64", Kernel: "debian:6.1", Profile: "fast", Mode: "module"}
	infra.SetResult(verdict.Failed(verdict.InfraError, errors.New("qemu-system-x86_64 is not installed")))

	return Run{
		Schema: Schema, ToolVersion: "v1.2.3", Started: time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC),
		Seconds: 21.98765, Command: []string{"kheaders", "test", "--results", "out dir"},
		Host:  Host{OS: "Debian GNU/Linux 12 (bookworm)", Kernel: "6.1.0-40-amd64", Arch: "x86_64", CPUs: 2, Go: "go1.26.0"},
		Exit:  ExitInfra,
		Cells: []Cell{passed, splat, hang, build, infra},
	}
}

// golden compares got with a file below testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out", "results")
	run := sample(dir)
	for range 2 { // the second time over its own files
		if err := Write(dir, run); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(sample(dir), run); diff != "" {
		t.Errorf("Write changed the run (-want +got):\n%s", diff)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(Files()) {
		t.Errorf("Write made %v, want %v", entries, Files())
	}
	for _, name := range Files() {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, got)
	}
}

// A caller's relative paths are relative to its working directory, not to the
// results.
func TestWriteRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := Write("out", sample("out")); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("out/results.json")
	if err != nil {
		t.Fatal(err)
	}
	var run Run
	if err := json.Unmarshal(got, &run); err != nil {
		t.Fatal(err)
	}
	if c := run.Cells[0]; c.Dir != "a" || c.Artifacts[1].Path != "a/initramfs.cpio" || c.Logs[0] != "a/console.log" {
		t.Errorf("dir %q, artifacts %+v, logs %q", c.Dir, c.Artifacts, c.Logs)
	}
	if c := run.Cells[0]; c.Artifacts[0].Path != "/var/cache/kheaders/headers/kheaders.tar.xz" {
		t.Errorf("a path elsewhere became %q", c.Artifacts[0].Path)
	}
}

func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Write(file, sample(dir)); err == nil {
		t.Error("a file is taken for a directory")
	}
	taken := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(taken, "junit.xml", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(taken, sample(dir)); err == nil || !strings.Contains(err.Error(), "junit.xml") {
		t.Errorf("a directory in the way gives %v", err)
	}
	// The existence of results.json promises that of the others.
	if _, err := os.Stat(filepath.Join(taken, "results.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("results.json was written: %v", err)
	}
}

func TestTerminal(t *testing.T) {
	run := sample("out")
	for name, render := range map[string]func(Run, io.Writer) error{
		"table.txt": Run.Table, "explain.txt": Run.Explain,
	} {
		var buf bytes.Buffer
		if err := render(run, &buf); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(buf.String(), "\x1b\x00") {
			t.Errorf("%s has bytes that a terminal acts upon", name)
		}
		golden(t, name, buf.Bytes())
	}

	// If all cells have the same profile, the table has no column for it.
	run.Cells = []Cell{run.Cells[0], run.Cells[4]}
	var buf bytes.Buffer
	if err := run.Table(&buf); err != nil {
		t.Fatal(err)
	}
	golden(t, "one-profile.txt", buf.Bytes())
}

// The lines that matter are the kernel's, else those of a failed test, and
// preferably of its failed subtest, else those of a test that did not end.
func TestEvidence(t *testing.T) {
	many := verdict.Test{Name: "TestMany", Status: verdict.StatusFail, Output: strings.Repeat("early\n", 20) + strings.Repeat("late\n\n", maxLines)}
	stuck := verdict.Test{Name: "TestStuck", Status: verdict.StatusUnfinished, Output: "waiting\t1\n"}
	parent := verdict.Test{Name: "TestP", Status: verdict.StatusFail, Output: "of the parent\n"}
	child := verdict.Test{Name: "TestP/x", Status: verdict.StatusFail, Output: "of the child\n"}
	silent := verdict.Test{Name: "TestSilent", Status: verdict.StatusFail, Output: " \n"}
	report := verdict.Finding{Lines: strings.Split(strings.Repeat("line ", 2*maxLines), " ")}
	tests := []struct {
		name string
		res  verdict.Result
		want []string
	}{
		{"nothing", verdict.Result{}, nil},
		{"a test that did not end", verdict.Result{Tests: []verdict.Test{stuck}}, []string{"waiting 1"}},
		{"a failed test", verdict.Result{Tests: []verdict.Test{stuck, silent, many}}, strings.Fields(strings.Repeat("late ", maxLines))},
		{"a subtest", verdict.Result{Tests: []verdict.Test{parent, child}}, []string{"of the child"}},
		{"a report", verdict.Result{Tests: []verdict.Test{child}, Findings: []verdict.Finding{report}}, report.Lines[:maxLines]},
		{"an allowed report", verdict.Result{Tests: []verdict.Test{child}, Findings: []verdict.Finding{{Lines: []string{"x"}, Allowed: "y"}}}, []string{"of the child"}},
	}
	for _, tt := range tests {
		c := Cell{Result: tt.res}
		if diff := cmp.Diff(tt.want, c.evidence()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// If there is nothing to explain, nothing is printed.
func TestExplainPass(t *testing.T) {
	run := sample("out")
	run.Cells = run.Cells[:1]
	var buf bytes.Buffer
	if err := run.Explain(&buf); err != nil || buf.Len() > 0 {
		t.Errorf("error %v, %q", err, buf.String())
	}
}

// failing is a writer that fails.
type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

func TestWriters(t *testing.T) {
	for name, render := range map[string]func(Run, io.Writer) error{
		"Table": Run.Table, "Explain": Run.Explain, "JSON": Run.JSON, "KTAP": Run.KTAP, "JUnit": Run.JUnit,
	} {
		if err := render(sample("out"), &failing{}); err == nil {
			t.Errorf("%s swallows the error", name)
		}
	}
	for after := range 3 {
		if err := sample("out").JUnit(&failing{after}); err == nil {
			t.Errorf("JUnit swallows the error of write %d", after+1)
		}
	}
}

func TestExitCode(t *testing.T) {
	tests := []struct {
		verdicts     []verdict.Verdict
		want, bisect int
	}{
		{nil, ExitInfra, BisectStop},
		{[]verdict.Verdict{verdict.Pass}, ExitPass, ExitPass},
		{[]verdict.Verdict{verdict.Pass, verdict.Pass}, ExitPass, ExitPass},
		{[]verdict.Verdict{verdict.Pass, ""}, ExitInfra, BisectStop},
		{[]verdict.Verdict{"passed"}, ExitInfra, BisectStop},
		{[]verdict.Verdict{verdict.InfraError, verdict.TestFailed, verdict.Pass}, ExitInfra, BisectStop},
		{[]verdict.Verdict{verdict.TestFailed, verdict.InfraError}, ExitInfra, BisectStop},
		{[]verdict.Verdict{verdict.BuildFailed, verdict.InfraError}, ExitInfra, BisectStop},
		{[]verdict.Verdict{verdict.BuildFailed, verdict.TestFailed}, ExitFailed, ExitFailed},
		{[]verdict.Verdict{verdict.BuildFailed, verdict.BuildFailed}, ExitFailed, BisectSkip},
	}
	for _, v := range verdict.Precedence() {
		want, bisect := ExitFailed, ExitFailed
		switch v {
		case verdict.Pass:
			want, bisect = ExitPass, ExitPass
		case verdict.InfraError:
			want, bisect = ExitInfra, BisectStop
		case verdict.BuildFailed:
			bisect = BisectSkip
		}
		tests = append(tests, struct {
			verdicts     []verdict.Verdict
			want, bisect int
		}{[]verdict.Verdict{verdict.Pass, v, verdict.Pass}, want, bisect})
	}
	for _, tt := range tests {
		var run Run
		for _, v := range tt.verdicts {
			run.Cells = append(run.Cells, Cell{Result: verdict.Result{Verdict: v}})
		}
		if got := run.ExitCode(); got != tt.want {
			t.Errorf("%q gives %d, want %d", tt.verdicts, got, tt.want)
		}
		if got := run.BisectCode(); got != tt.bisect {
			t.Errorf("%q gives git bisect %d, want %d", tt.verdicts, got, tt.bisect)
		}
	}
}

// A new run knows its host, and does not count as a success before it ends.
func TestNew(t *testing.T) {
	run := New([]string{"kheaders", "test"})
	if run.Schema != Schema || run.ToolVersion == "" || run.Exit != ExitInfra || time.Since(run.Started) > time.Hour {
		t.Errorf("%+v", run)
	}
	if h := run.Host; h.OS == "" || h.Kernel == "" || h.Arch == "" || h.CPUs < 1 || h.Go == "" {
		t.Errorf("%+v", h)
	}
	run.Started = run.Started.Add(-time.Minute)
	run.Cells = []Cell{{Result: verdict.Result{Verdict: verdict.Pass}}}
	run.Finish()
	if run.Exit != ExitPass || run.Seconds < 60 {
		t.Errorf("exit %d after %v s", run.Exit, run.Seconds)
	}
}

func TestOSName(t *testing.T) {
	for in, want := range map[string]string{
		"NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n": "Debian GNU/Linux 12 (bookworm)",
		"PRETTY_NAME='Arch Linux'":                                 "Arch Linux",
		"NAME=x\n":                                                 "",
	} {
		if got := osName(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestProgress(t *testing.T) {
	tests := []struct {
		test verdict.Test
		want string
	}{
		{verdict.Test{Name: "TestRead/short", Status: verdict.StatusPass, Seconds: 0.014}, "ok    TestRead/short  0.01 s"},
		{verdict.Test{Name: "TestRead", Status: verdict.StatusFail, Seconds: 12}, "FAIL  TestRead  12.00 s"},
		{verdict.Test{Name: "TestK", Status: verdict.StatusSkip, NotApplicable: "no\x1b KASAN"}, "skip  TestK  0.00 s  (no? KASAN)"},
		{verdict.Test{Name: "TestK", Status: verdict.StatusUnfinished}, "unfinished  TestK  0.00 s"},
	}
	for _, tt := range tests {
		if got := Progress(tt.test); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
