// SPDX-License-Identifier: BSD-3-Clause

// Package faults breaks one thing at a time and checks that kheaders says so. Each
// directory here is a fault, with the verdict that it must get.
//
// fault.json says what is broken and how the run must end. The damage is done by
// the files beside it:
//
//   - fault.h is included before the module's C code and replaces what that calls;
//   - a Go test package takes the place of the guest's tests;
//   - qemu.sh takes the place of QEMU, and finds the real one's path in $QEMU;
//   - hooks_test.go, under the directory's name, does what needs a program.
//
// Each fault is one run of the kheaders command, as a user would run it. What the
// damage touches is in a cache of its own: a faulty module is put where the pipeline
// looks for the one that it built.
package faults

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kheaders/kheaders/harness/report"
	"github.com/kheaders/kheaders/harness/rig"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
)

var (
	onlyArch = flag.String("arch", "", "run the faults of this `ARCH`itecture only")
	patience = flag.Float64("patience", 1, "give each fault `N` times its seconds, on a machine that has other things to do")
)

// targets returns the architectures on which to break things.
func targets(t *testing.T) []target.Target {
	t.Helper()
	if *onlyArch == "" {
		return target.All()
	}
	arch, err := target.Lookup(*onlyArch)
	if err != nil {
		t.Fatal(err)
	}
	return []target.Target{arch}
}

// fault is the content of a fault.json.
type fault struct {
	// About says in a few words what is broken.
	About string `json:"about"`
	// Batch is module, guest or host: where the damage is done.
	Batch string `json:"batch"`
	// Arch lists the architectures to run it on. Empty: all. "native" is the
	// host's, and "quickest" the one that boots fastest.
	Arch []string `json:"arch"`
	// Profile is the kernel's profile. Empty: the default one.
	Profile string `json:"profile"`
	// Args are added to kheaders test.
	Args []string `json:"args"`
	// Verdict and Exit are what the run must end with. Reason must be in the
	// verdict's reason.
	Verdict verdict.Verdict `json:"verdict"`
	Exit    int             `json:"exit"`
	Reason  string          `json:"reason"`
	// Says must be in the run's output.
	Says string `json:"says"`
	// Seconds is how long the run may take.
	Seconds float64 `json:"seconds"`

	dir string
}

// defaultSeconds is the time for a fault that waits for nothing. A boot takes 3
// on an idle machine.
const defaultSeconds = 40

func (f *fault) name() string { return filepath.Base(f.dir) }

// has reports whether the fault's directory has a file.
func (f *fault) has(name string) bool {
	matches, err := filepath.Glob(filepath.Join(f.dir, name))
	return err == nil && len(matches) > 0
}

// read reads all faults, sorted by name.
func read(t *testing.T) []*fault {
	t.Helper()
	paths, err := filepath.Glob("*/fault.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []*fault
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f := &fault{Profile: rig.DefaultProfile, Seconds: defaultSeconds}
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(f); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if f.dir, err = filepath.Abs(filepath.Dir(path)); err != nil {
			t.Fatal(err)
		}
		if len(f.Arch) == 0 {
			f.Arch = target.Names()
		}
		for i, name := range f.Arch {
			switch name {
			case "native":
				native := slices.IndexFunc(target.All(), target.Target.Native)
				if native < 0 {
					t.Fatal("no target is of this host's architecture")
				}
				f.Arch[i] = target.All()[native].Name
			case "quickest":
				f.Arch[i] = target.Quickest().Name
			}
		}
		if !f.has("fault.h") && !f.has("*_test.go") && !f.has("qemu.sh") && hooks[f.name()] == nil && len(f.Args) == 0 {
			t.Errorf("nothing does the damage of %s", f.name())
		}
		all = append(all, f)
	}
	for name := range hooks {
		if !slices.ContainsFunc(all, func(f *fault) bool { return f.name() == name }) {
			t.Errorf("%s has a hook, and no fault.json", name)
		}
	}
	return all
}

// bench is what all faults share: kheaders is the program under test, repo our
// sources, and shared the user's cache.
type bench struct {
	kheaders, repo, shared string

	mu sync.Mutex
	// made is what healthy runs built, by profile and architecture.
	made map[[2]string]built
}

// built is where a healthy run got its module and kernel from.
type built struct{ entry, kernelBuild string }

// newBench compiles kheaders.
func newBench(t *testing.T) *bench {
	t.Helper()
	user, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		kheaders: filepath.Join(t.TempDir(), "kheaders"), repo: repo,
		shared: filepath.Join(user, "kheaders"), made: map[[2]string]built{},
	}
	build := exec.Command("go", "build", "-o", b.kheaders, "./harness/cmd/kheaders")
	build.Dir = repo
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building kheaders: %v\n%s", err, out)
	}
	return b
}

// healthy makes a healthy run build everything, once for each kernel.
func (b *bench) healthy(t *testing.T, profile string, arch target.Target) built {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if found, ok := b.made[[2]string{profile, arch.Name}]; ok {
		return found
	}
	results := t.TempDir()
	run := exec.Command(b.kheaders, "test", "--results", results, "--cache", b.shared, "--arch", arch.Name, "--profile", profile)
	run.Dir = b.repo
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("a healthy run: %v\n%s", err, out)
	}
	found := built{}
	for _, a := range readRun(t, results).Cells[0].Artifacts {
		switch a.Name {
		case "module":
			found.entry = filepath.Dir(a.Path)
		case "kernel":
			found.kernelBuild = strings.TrimSuffix(a.Path, "/"+arch.ImagePath)
		}
	}
	b.made[[2]string{profile, arch.Name}] = found
	return found
}

func readRun(t *testing.T, results string) report.Run {
	t.Helper()
	var run report.Run
	text, err := os.ReadFile(filepath.Join(results, "results.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return run
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &run); err != nil {
		t.Fatalf("results.json: %v", err)
	}
	return run
}

// verdictLine matches the line in which a run reports its verdict.
var verdictLine = regexp.MustCompile(`(?m)^\S+ +verdict +([a-z-]+): (.*)$`)

// try runs a fault and compares its outcome with what it must be.
func (b *bench) try(t *testing.T, f *fault, arch target.Target, tab *table) {
	t.Helper()
	w := b.newWorld(t, f, arch)
	cmd := w.command(w.results)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	start := time.Now()
	w.must(cmd.Start())
	limit := time.Duration(f.Seconds * *patience * float64(time.Second))
	stop := time.AfterFunc(2*limit, func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
	err := cmd.Wait()
	stop.Stop()
	took := time.Since(start)
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok && err != nil || ok && exit.ExitCode() < 0 {
		t.Errorf("kheaders did not exit: %v", err)
	}

	told, reason := "none", ""
	if m := verdictLine.FindStringSubmatch(output.String()); m != nil {
		told, reason = m[1], m[2]
	}
	if cells := readRun(t, w.results).Cells; len(cells) == 1 && (string(cells[0].Verdict) != told || cells[0].Reason != reason) {
		t.Errorf("results.json has the verdict %s (%s), the terminal %s (%s)", cells[0].Verdict, cells[0].Reason, told, reason)
	}
	code := cmd.ProcessState.ExitCode()
	if told != string(f.Verdict) || code != f.Exit || !strings.Contains(reason, f.Reason) {
		t.Errorf("verdict %s (%s), exit code %d; want %s (…%s…), %d", told, reason, code, f.Verdict, f.Reason, f.Exit)
	}
	if f.Verdict != verdict.InfraError && !strings.Contains(output.String(), "(from the cache)") {
		t.Error("the kernel was not found in the cache")
	}
	if took > limit {
		t.Errorf("it took %v, more than %v", took.Round(time.Millisecond), limit)
	}
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left := w.left()
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("still running: %s", strings.Join(left, "; "))
			break
		}
	}
	if !strings.Contains(output.String(), f.Says) {
		t.Errorf("it does not say %q", f.Says)
	}
	if w.after != nil {
		w.after(output.String())
	}
	if t.Failed() {
		t.Logf("it printed:\n%s", output.String())
	}
	tab.add(row{f.Batch, f.name(), arch.Name, told, code, took.Seconds(), !t.Failed()})
}

// TestFaults runs the catalogue. A healthy run must pass before and after each
// batch, so that no fault is found where there is none.
func TestFaults(t *testing.T) {
	all := read(t)
	b := newBench(t)
	tab := &table{}
	t.Cleanup(func() {
		path := filepath.Join(b.repo, "out", "faults.txt")
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(tab.String()), 0o644)); err != nil {
			t.Error(err)
		}
		t.Logf("%s:\n%s", path, tab)
	})
	healthy := &fault{About: "nothing", Profile: rig.DefaultProfile, Verdict: verdict.Pass, Seconds: defaultSeconds, dir: "healthy"}
	for _, batch := range []string{"module", "guest", "host", ""} {
		for _, arch := range targets(t) {
			t.Run("healthy before "+cmp.Or(batch, "the end")+"/"+arch.Name, func(t *testing.T) { b.try(t, healthy, arch, tab) })
		}
		t.Run(cmp.Or(batch, "others"), func(t *testing.T) {
			for _, f := range all {
				if f.Batch != batch {
					continue
				}
				for _, name := range f.Arch {
					arch, err := target.Lookup(name)
					if err != nil {
						t.Fatalf("%s: %v", f.name(), err)
					}
					if !slices.ContainsFunc(targets(t), func(a target.Target) bool { return a.Name == name }) {
						continue
					}
					t.Run(f.name()+"/"+name, func(t *testing.T) {
						t.Parallel()
						b.try(t, f, arch, tab)
					})
				}
			}
		})
	}
	const least = 30
	if len(all) < least {
		t.Errorf("the catalogue has %d faults, fewer than %d", len(all), least)
	}
}
