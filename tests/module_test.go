// SPDX-License-Identifier: BSD-3-Clause

package tests

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/rig"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
	"github.com/kheaders/kheaders/module/source"
)

// checkC makes TestC run the checks that need additional tools and two more
// kernels.
var checkC = flag.Bool("check-c", false, "check the C with sparse and clang as well")

// builtKernel is what "kheaders kernel --json" prints.
type builtKernel struct {
	Release string `json:"release"`
	Source  string `json:"source"`
	Build   string `json:"build"`
	Image   string `json:"image"`
	Config  string `json:"config"`
}

// testKernel returns a test kernel, and builds it if it is not in the cache.
func testKernel(t *testing.T, arch target.Target, args ...string) builtKernel {
	t.Helper()
	argv := append([]string{"kernel", "--arch", arch.Name, "--json"}, args...)
	if !slices.Contains(args, "--kernel") {
		argv = append(argv, "--kernel", "debian:6.12")
	}
	out, err := exec.Command(kheaders, argv...).Output()
	if err != nil {
		t.Fatalf("kheaders kernel: %v", err)
	}
	var k builtKernel
	if err := json.Unmarshal(out, &k); err != nil {
		t.Fatal(err)
	}
	return k
}

// moduleDir writes the source of a module with a few bytes as its archive, for
// the headers of a kernel.
func moduleDir(t *testing.T, dir, release, srcArch string) {
	t.Helper()
	data := bytes.Repeat([]byte("not really headers "), 1000)
	sum := sha256.Sum256(data)
	files, err := source.Render(source.Archive{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(data)), Release: release, SrcArch: srcArch})
	if err != nil {
		t.Fatal(err)
	}
	files[source.ArchiveName] = data
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// makeOutput runs a program and returns what it printed.
func makeOutput(t *testing.T, argv ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	return string(out), err
}

// makeModule builds the module and returns make's output.
func makeModule(t *testing.T, dir string, argv ...string) string {
	t.Helper()
	out, err := makeOutput(t, append([]string{"make"}, argv...)...)
	if err != nil {
		t.Fatalf("make %s in %s: %v; it printed:\n%s", strings.Join(argv, " "), dir, err, out)
	}
	return out
}

// TestModuleStandsAlone builds the module's directory like its users do, in two
// places. The result must be the same, and must name neither place.
func TestModuleStandsAlone(t *testing.T) {
	t.Parallel()
	for i, arch := range target.All() {
		k := testKernel(t, arch)
		cross := []string{"ARCH=" + arch.MakeArch, "CROSS_COMPILE=" + arch.Cross()}
		for name, argv := range map[string]func(dir string) []string{
			// make -C KERNEL M=$PWD
			"kernel": func(dir string) []string { return []string{"-C", k.Build, "M=" + dir} },
			// make KERNEL=KERNEL, as on a distribution's kernel, which has
			// debug information
			"directory": func(dir string) []string {
				return []string{"-C", dir, "KERNEL=" + k.Build, "KCFLAGS=-g", "KAFLAGS=-g"}
			},
		} {
			if (i%2 == 0) != (name == "directory") {
				continue
			}
			t.Run(arch.Name+"/"+name, func(t *testing.T) {
				root := t.TempDir()
				var made [][]byte
				for _, name := range []string{"first", "another-place"} {
					dir := filepath.Join(root, name, "module")
					moduleDir(t, dir, k.Release, arch.SrcArch)
					makeModule(t, dir, append(argv(dir), cross...)...)
					ko, err := os.ReadFile(filepath.Join(dir, rig.ModuleFile))
					if err != nil {
						t.Fatal(err)
					}
					if bytes.Contains(ko, []byte(root)) {
						t.Errorf("%s names the directory that it was built in", rig.ModuleFile)
					}
					sha256, modinfo, err := rig.CheckModule(ko, arch, k.Release)
					if err != nil {
						t.Fatal(err)
					}
					for field, want := range map[string]string{
						source.VersionField: source.Version, source.SHA256Field: sha256,
						source.SizeField: "19000", source.ReleaseField: k.Release,
					} {
						if got := modinfo[field]; got != want {
							t.Errorf("modinfo: %s is %q, want %q", field, got, want)
						}
					}
					made = append(made, ko)
				}
				if !bytes.Equal(made[0], made[1]) {
					t.Error("two directories gave different modules")
				}
			})
		}
	}
}

// TestModuleRefusesOtherHeaders checks that headers of another kernel never get
// into a module, whoever builds it.
func TestModuleRefusesOtherHeaders(t *testing.T) {
	t.Parallel()
	arch := target.All()[0]
	k := testKernel(t, arch)
	for _, of := range []struct{ release, srcArch string }{
		{"5.4.0-other", arch.SrcArch},
		{k.Release, "vax"},
	} {
		dir := filepath.Join(t.TempDir(), "module")
		moduleDir(t, dir, of.release, of.srcArch)
		argv := []string{"make", "-C", k.Build, "M=" + dir, "ARCH=" + arch.MakeArch, "CROSS_COMPILE=" + arch.Cross()}
		out, err := makeOutput(t, argv...)
		want := fmt.Sprintf("error: kheaders_data.tar.xz has the headers of %s (%s), but this kernel is %s (%s)", of.release, of.srcArch, k.Release, arch.SrcArch)
		if err == nil || !strings.Contains(out, want) || strings.Contains(out, "CC [M]") {
			t.Errorf("error %v, want one before anything is compiled, and %q; it printed:\n%s", err, want, out)
		}
		if out, err := makeOutput(t, append(argv, "clean")...); err != nil {
			t.Errorf("make clean: %v; it printed:\n%s", err, out)
		}
	}
}

// TestC checks the generated C against the kernel's own rules.
func TestC(t *testing.T) {
	t.Parallel()
	for _, arch := range target.All() {
		t.Run(arch.Name, func(t *testing.T) {
			k := testKernel(t, arch)
			dir := filepath.Join(t.TempDir(), "module")
			moduleDir(t, dir, k.Release, arch.SrcArch)
			argv := []string{"M=" + dir, "ARCH=" + arch.MakeArch, "CROSS_COMPILE=" + arch.Cross()}

			checkpatch(t, k, dir)
			silent(t, "W=1", makeModule(t, dir, append(argv, "-C", k.Build, "W=1")...))
			needsExactly(t, filepath.Join(dir, rig.ModuleFile))
			if !*checkC {
				return
			}
			out := makeModule(t, dir, append(argv, "-C", k.Build, "C=2", "CHECK=sparse")...)
			if !strings.Contains(out, "CHECK   ") {
				t.Errorf("sparse has not seen it; make printed:\n%s", out)
			}
			silent(t, "sparse", out)

			// Build with clang for a kernel that clang built, and run there: that
			// kernel checks indirect calls and copies.
			clang := testKernel(t, arch, "--profile", "clang")
			dir = filepath.Join(t.TempDir(), "module")
			moduleDir(t, dir, clang.Release, arch.SrcArch)
			silent(t, "clang", makeModule(t, dir, append(rig.ClangVariables(t.Context(), arch), "-C", clang.Build, "M="+dir, "W=1")...))
			booted := test(t, "--kernel", "debian:6.12", "--arch", arch.Name, "--profile", "clang", "--bpf")
			if booted.code != 0 || len(booted.run.Cells) != 1 || booted.run.Cells[0].Verdict != verdict.Pass {
				t.Errorf("exit code %d; it printed:\n%s", booted.code, booted.output)
			}
		})
	}
}

// needsExactly checks that source.Symbols lists what a module for Linux 6.12 has
// from the kernel, and nothing else.
func needsExactly(t *testing.T, module string) {
	t.Helper()
	f, err := elf.Open(module)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it is only read
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	undefined := map[string]bool{}
	for _, s := range symbols {
		// What is in string.h, and what starts like this, is up to the compiler.
		if s.Section == elf.SHN_UNDEF && !strings.HasPrefix(s.Name, "__") && !slices.Contains([]string{"", "strcmp", "memcmp"}, s.Name) {
			undefined[s.Name] = true
		}
	}
	for _, group := range source.Symbols(6, 12, true) {
		n := len(undefined)
		for _, name := range group {
			delete(undefined, name)
		}
		if len(undefined) != n-1 {
			t.Errorf("it does not need one of %q", group)
		}
	}
	for name := range undefined {
		t.Errorf("source.Symbols does not have %s", name)
	}
}

// checkpatch runs the kernel's style checker on the generated C.
func checkpatch(t *testing.T, k builtKernel, dir string) {
	t.Helper()
	argv := []string{"perl", filepath.Join(k.Source, "scripts/checkpatch.pl"), "--no-tree", "--strict", "--file"}
	var names []string
	for _, pattern := range []string{"*.c", "*.h", "*.S"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	if len(names) != 3 {
		t.Fatalf("there is %v to check, want three files", names)
	}
	out, err := makeOutput(t, slices.Concat(argv, names)...)
	if n := strings.Count(out, "total: 0 errors, 0 warnings, 0 checks, "); err != nil || n != len(names) {
		t.Errorf("checkpatch: %v, %d of %d files clean; it printed:\n%s", err, n, len(names), out)
	}
}

// silent checks that no tool complained about the module.
func silent(t *testing.T, what, output string) {
	t.Helper()
	for line := range strings.Lines(output) {
		if strings.Contains(line, "warning: ") || strings.Contains(line, "error: ") || strings.HasPrefix(line, "WARNING: ") {
			t.Errorf("%s: %s", what, strings.TrimSpace(line))
		}
	}
	if !strings.Contains(output, "kheaders_main.o") && !strings.Contains(output, "kheaders_main.c") {
		t.Errorf("%s: nothing was compiled; make printed:\n%s", what, output)
	}
}
