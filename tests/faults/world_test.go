// SPDX-License-Identifier: BSD-3-Clause

package faults

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kheaders/kheaders/harness/rig"
	"github.com/kheaders/kheaders/harness/target"
)

// world is where one fault runs.
type world struct {
	*bench
	t      *testing.T
	target target.Target
	// from is what a healthy run built for the same kernel.
	from built
	// kheaders is the program to run, which may differ from the bench's.
	kheaders string
	// cache and results are the run's own directories. The cache shares
	// everything but modules, BPF programs and accelerators with the user's.
	cache, results string
	// bin comes first in PATH; path is the rest.
	bin, path string
	// env is added to the environment and args to the command line. prefix is a
	// command that runs its remaining arguments.
	env, args, prefix []string
	// after, if set, checks what the run left.
	after func(output string)
}

// newWorld creates the world of a fault.
func (b *bench) newWorld(t *testing.T, f *fault, arch target.Target) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{
		bench: b, t: t, target: arch, from: b.healthy(t, f.Profile, arch), kheaders: b.kheaders,
		cache: filepath.Join(dir, "cache"), results: filepath.Join(dir, "results"),
		bin: filepath.Join(dir, "bin"), path: os.Getenv("PATH"),
		args: slices.Concat([]string{"--arch", arch.Name, "--profile", f.Profile}, f.Args),
	}
	for _, dir := range []string{w.cache, w.bin, w.results} {
		w.must(os.Mkdir(dir, 0o755))
	}
	kinds, err := os.ReadDir(b.shared)
	w.must(err)
	for _, kind := range kinds {
		if name := kind.Name(); name != "module" && name != "bpf" && name != "accel" {
			w.must(os.Symlink(filepath.Join(b.shared, name), filepath.Join(w.cache, name)))
		}
	}
	w.must(os.Mkdir(filepath.Join(w.cache, "module"), 0o755))
	switch {
	case f.has("fault.h"):
		w.replaceModule(b.faultyModule(t, f, arch, w.from))
	default:
		w.must(os.Symlink(w.from.entry, filepath.Join(w.cache, "module", filepath.Base(w.from.entry))))
	}
	if f.has("qemu.sh") {
		w.wrapQEMU(filepath.Join(f.dir, "qemu.sh"))
	}
	if f.has("*_test.go") {
		w.args = append(w.args, "--tests", "./tests/faults/"+f.name())
	}
	if !slices.Contains(w.args, "--accel") {
		w.args = append(w.args, "--accel", "tcg")
	}
	if hook := hooks[f.name()]; hook != nil {
		hook(w)
	}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// wrapQEMU puts a script in the place of QEMU.
func (w *world) wrapQEMU(script string) {
	w.t.Helper()
	qemu, err := exec.LookPath(w.target.QEMU)
	w.must(err)
	w.env = append(w.env, "QEMU="+qemu)
	text, err := os.ReadFile(script)
	w.must(err)
	w.must(os.WriteFile(filepath.Join(w.bin, w.target.QEMU), text, 0o755))
}

// ko returns the healthy module.
func (w *world) ko() []byte {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.from.entry, rig.ModuleFile))
	w.must(err)
	return data
}

// replaceModule puts another module into the cache, as if the run had built it,
// along with the files that were built with the healthy one.
func (w *world) replaceModule(ko []byte) {
	w.t.Helper()
	w.must(rig.PlantModule(w.t.Context(), w.cache, w.from.entry, w.from.kernelBuild, ko))
}

// building keeps two faults from building their modules at the same time.
var building sync.Mutex

// faultyModule builds the module with a fault's header, or finds it in the
// cache.
func (b *bench) faultyModule(t *testing.T, f *fault, arch target.Target, from built) []byte {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	header, err := os.ReadFile(filepath.Join(f.dir, "fault.h"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := rig.FaultyModule(t.Context(), b.shared, from.entry, from.kernelBuild, arch, header)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// command is kheaders test in this world, with its results in the given
// directory.
func (w *world) command(results string) *exec.Cmd {
	argv := slices.Concat(w.prefix, []string{w.kheaders, "test", "--results", results, "--cache", w.cache}, w.args)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = w.repo
	cmd.Env = slices.Concat(os.Environ(), []string{"PATH=" + w.bin + ":" + w.path, "KHEADERS_FAULT=" + w.results, "KHEADERS_KEEP_ENV=KHEADERS_FAULT QEMU"}, w.env)
	return cmd
}

// left returns the processes that the world's run left behind.
func (w *world) left() []string {
	w.t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil || len(paths) == 0 {
		w.t.Fatalf("no processes to look at: %v", err)
	}
	var found []string
	for _, path := range paths {
		env, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(env, []byte("KHEADERS_FAULT="+w.results+"\x00")) {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if err == nil {
			found = append(found, strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return found
}
