// SPDX-License-Identifier: BSD-3-Clause

// Package report presents a run's verdicts: as a table and a few lines for a
// person, as results.json with everything that is known, and as junit.xml and
// results.ktap for the tools that read those.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/verdict"
)

// Schema is the version of the format of results.json. It increases when a
// field is removed or changes its meaning, but not when fields are added.
const Schema = 1

// The exit codes of a run.
const (
	ExitPass   = 0
	ExitFailed = 1
	ExitInfra  = 3
)

// The exit codes for "git bisect run", beside those of a good and a bad kernel:
// one that cannot be judged, and a harness that could not do its work.
const (
	BisectSkip = 125
	BisectStop = 128
)

// Run is one run of the matrix, and the top level of results.json.
//
// Durations are in seconds, with milliseconds, and sizes are in bytes. Paths
// below the directory of results.json are relative to it, all others absolute.
type Run struct {
	// Schema is the version of this format.
	Schema int `json:"schema"`
	// ToolVersion is the version of kheaders from Go's build information, or
	// "(devel)" if there is none.
	ToolVersion string `json:"tool_version"`
	// Started is when the run began, in RFC 3339.
	Started time.Time `json:"started"`
	// Seconds is how long the whole run took.
	Seconds float64 `json:"duration_seconds"`
	// Command is the command line.
	Command []string `json:"command"`
	// Host is the machine that the run was on.
	Host Host `json:"host"`
	// Exit is the exit code that follows from the cells: see [Run.ExitCode].
	Exit int `json:"exit_code"`
	// UnusedAllowances are the entries of the allowlist that no cell needed, as
	// they are written there.
	UnusedAllowances []string `json:"unused_allowances,omitempty"`
	// Cells are the cells of the matrix, in its order.
	Cells []Cell `json:"cells"`
}

// Host describes the machine of a run.
type Host struct {
	// OS is the distribution's name for itself, or the kernel's.
	OS string `json:"os"`
	// Kernel is its kernel release.
	Kernel string `json:"kernel"`
	// Arch is the kernel's name for the architecture.
	Arch string `json:"arch"`
	// CPUs is how many processors we may use.
	CPUs int `json:"cpus"`
	// Go is the version of Go that kheaders was built with.
	Go string `json:"go"`
}

// Cell is one combination of the matrix, with its verdict.
type Cell struct {
	// Arch is the kernel architecture, by the name that package target has.
	Arch string `json:"arch"`
	// Kernel is the kernel spec as the user gave it.
	Kernel string `json:"kernel"`
	// Release is the kernel release, if it is known.
	Release string `json:"release,omitempty"`
	// Profile is the name of the kernel's configuration.
	Profile string `json:"profile"`
	// Mode says how the kernel carries the headers: module, builtin, dkms.
	Mode string `json:"mode"`
	// Accel is the accelerator: kvm or tcg. AccelWhy is the reason for it. Both
	// are empty if the cell did not get that far.
	Accel    string `json:"accelerator,omitempty"`
	AccelWhy string `json:"accelerator_reason,omitempty"`

	// Result adds verdict, reason, problems, tests, attrs, findings and
	// hello_uptime_seconds.
	verdict.Result

	// Lines are the lines that matter from a program that failed.
	Lines []string `json:"lines,omitempty"`
	// Hint is what the user can do about the verdict.
	Hint string `json:"hint,omitempty"`
	// Stages are the stages in the order in which they ended. Some run in
	// parallel, so the sum may exceed the cell's time.
	Stages []Stage `json:"stages"`
	// BootSeconds is the time from QEMU's start to its end, when the verdict is
	// known. It is zero if nothing was booted.
	BootSeconds float64 `json:"boot_to_verdict_seconds"`
	// Digests are the archive's at each place where it was seen. They are equal
	// in a pass.
	Digests Digests `json:"archive_sha256"`
	// Artifacts are the files that went into the boot.
	Artifacts []Artifact `json:"artifacts"`
	// Dir is the directory with the cell's files. Logs are the ones to look at,
	// in the order in which they were started.
	Dir  string   `json:"dir,omitempty"`
	Logs []string `json:"logs"`
	// QEMU is QEMU's command line, quoted for a shell.
	QEMU string `json:"qemu_command,omitempty"`
	// Repeat is the command that runs just this cell again, quoted for a shell.
	Repeat string `json:"repeat_command"`
}

// Stage is one stage's duration.
type Stage struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// Digests are the sha256 of the headers archive in hex; empty where it was not
// taken.
type Digests struct {
	// Host is the digest of the file on the host.
	Host string `json:"host"`
	// Module is the digest of the bytes in the .ko's section.
	Module string `json:"module"`
	// Kernel is the digest of the bytes in a vmlinux with built-in headers.
	Kernel string `json:"kernel,omitempty"`
	// Guest is the digest of /proc/kheaders.tar.xz as the guest read it.
	Guest string `json:"guest"`
}

// Artifact is a file that a stage made.
type Artifact struct {
	// Name says what it is: kernel, headers, module, initramfs.
	Name   string `json:"name"`
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// New returns a run that starts now, on this machine.
func New(command []string) Run {
	return Run{
		Schema: Schema, ToolVersion: toolVersion(), Started: time.Now(),
		Command: command, Host: thisHost(), Exit: ExitInfra,
	}
}

// Finish ends the run, after all cells have been judged.
func (r *Run) Finish() {
	r.Seconds = time.Since(r.Started).Seconds()
	r.Exit = r.ExitCode()
}

// ExitCode returns 0 if all cells passed, 3 if one of them could not be judged
// because the harness could not do its work, and otherwise 1. A run without
// cells, or with an unknown verdict, is also the harness's failure.
func (r Run) ExitCode() int {
	code := ExitPass
	if len(r.Cells) == 0 {
		code = ExitInfra
	}
	for _, c := range r.Cells {
		switch {
		case c.Verdict == verdict.Pass:
		case c.Verdict == verdict.InfraError, !slices.Contains(verdict.Precedence(), c.Verdict):
			code = ExitInfra
		default:
			code = max(code, ExitFailed)
		}
	}
	return code
}

// BisectCode returns the exit code for "git bisect run": [ExitPass] for a good
// kernel, [ExitFailed] for a bad one, [BisectSkip] for one that does not build, and
// [BisectStop] where the harness is to blame.
func (r Run) BisectCode() int {
	switch code := r.ExitCode(); {
	case code == ExitInfra:
		return BisectStop
	case code == ExitFailed && !slices.ContainsFunc(r.Cells, func(c Cell) bool { return c.Verdict != verdict.Pass && c.Verdict != verdict.BuildFailed }):
		return BisectSkip
	default:
		return code
	}
}

// Name identifies the cell within its run.
func (c *Cell) Name() string {
	return strings.Join([]string{c.Arch, c.Kernel, c.Profile, c.Mode}, " ")
}

// SetResult gives the cell its verdict.
func (c *Cell) SetResult(res verdict.Result) {
	c.Result = res
	c.Digests.Guest = res.GuestSHA256
}

// Summary returns the verdict in one line.
func (c *Cell) Summary() string { return fmt.Sprintf("%s: %s", c.Verdict, c.Reason) }

// AddStage records how long a stage took.
func (c *Cell) AddStage(name string, seconds float64) {
	c.Stages = append(c.Stages, Stage{Name: name, Seconds: seconds})
}

// AddArtifact records a file that a stage made.
func (c *Cell) AddArtifact(name, path string, size int64, sha256 string) {
	c.Artifacts = append(c.Artifacts, Artifact{Name: name, Path: path, Size: size, SHA256: sha256})
}

// AddLog records a log file, once.
func (c *Cell) AddLog(path string) {
	if !slices.Contains(c.Logs, path) {
		c.Logs = append(c.Logs, path)
	}
}

// JSON writes results.json.
func (r Run) JSON(w io.Writer) error {
	r.Started = r.Started.Round(time.Millisecond)
	r.Seconds = round(r.Seconds)
	// Lists are never null, which saves scripts a check.
	r.Command = full(r.Command)
	r.Cells = full(r.Cells)
	for i := range r.Cells {
		c := &r.Cells[i]
		c.BootSeconds = round(c.BootSeconds)
		c.Stages, c.Artifacts, c.Logs = full(c.Stages), full(c.Artifacts), full(c.Logs)
		for j := range c.Stages {
			c.Stages[j].Seconds = round(c.Stages[j].Seconds)
		}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// full returns a copy that is not nil.
func full[T any](s []T) []T { return append(make([]T, 0, len(s)), s...) }

// round rounds to milliseconds.
func round(seconds float64) float64 { return math.Round(seconds*1000) / 1000 }

// toolVersion returns the version that Go recorded in our binary.
func toolVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// thisHost describes the machine that we run on.
func thisHost() Host {
	h := Host{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version()}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		h.Kernel = unix.ByteSliceToString(uts.Release[:])
		h.Arch = unix.ByteSliceToString(uts.Machine[:])
	}
	if b, err := os.ReadFile("/etc/os-release"); err == nil {
		if name := osName(string(b)); name != "" {
			h.OS = name
		}
	}
	return h
}

// osName finds PRETTY_NAME in an os-release file (os-release(5)).
func osName(release string) string {
	for line := range strings.Lines(release) {
		if name, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(name), `"'`)
		}
	}
	return ""
}
