// SPDX-License-Identifier: BSD-3-Clause

package tests

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/rig"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
)

// TestBuiltin builds the headers into a kernel. The archive that the kernel's
// own build packs must be the one that kheaders packs, the one in vmlinux, and
// the one that the guest reads with no module loaded. This kernel starts from the
// object tree of TestDebian612's; one of another series would be a build of its
// own, so only make check-c has one.
func TestBuiltin(t *testing.T) {
	t.Parallel()
	first, second := target.Names()[0], target.Names()[1]
	builtIn(t, "debian:6.12", second, rig.DefaultProfile)
	if *checkC {
		builtIn(t, "debian:6.1", first, "ikheaders") // both in one kernel, whose names for options are older
	}
}

// TestOlderSeries configures a kernel of an older series, and patches its source,
// without the minutes of a build. The debug profile asks for more than that series
// can do, so that the error lists every option that got lost: only these, since
// the others are what each of its kernels needs.
func TestOlderSeries(t *testing.T) {
	t.Parallel()
	out, err := makeOutput(t, kheaders, "kernel", "--kernel", "debian:6.1", "--arch", target.All()[0].Name, "--profile", "debug")
	const want = "does not keep what was requested: "
	_, lost, ok := strings.Cut(out, want)
	if err == nil || !ok {
		t.Fatalf("%v; want an error that has %q in it; it printed:\n%s", err, want, out)
	}
	lost, _, _ = strings.Cut(lost, "\n")
	for line := range strings.SplitSeq(lost, "; ") {
		if !strings.HasPrefix(line, "CONFIG_KASAN") {
			t.Errorf("the configuration loses %s", line)
		}
	}
	// What else is installed must make no difference.
	config := func(out string) string {
		t.Helper()
		_, path, _ := strings.Cut(out, "hint: ")
		path, _, _ = strings.Cut(path, " ")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("%v; it printed:\n%s", err, out)
		}
		return string(text)
	}
	before := config(out)
	dir := t.TempDir()
	for _, name := range []string{"pahole", "rustc", "bindgen"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho v9.99\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The profile does not build, so nothing comes from the cache.
	again, err := makeOutput(t, "env", "PATH="+dir+":"+os.Getenv("PATH"), kheaders, "kernel", "--kernel", "debian:6.1", "--arch", target.All()[0].Name, "--profile", "debug")
	if err == nil {
		t.Errorf("it succeeded; it printed:\n%s", again)
	}
	if after := config(again); after != before {
		t.Errorf("other programs make another configuration: %d bytes, then %d", len(before), len(after))
	}
	_, source, ok := strings.Cut(out, "make -C ")
	source, _, _ = strings.Cut(source, " ")
	if !ok {
		t.Fatalf("it names no source; it printed:\n%s", out)
	}
	patch := filepath.Join(t.TempDir(), "kheaders.patch")
	if out, err := makeOutput(t, kheaders, "module", "--in-tree", "--source", source, "--output", patch); err != nil {
		t.Fatalf("%v; it printed:\n%s", err, out)
	}
	if out, err := makeOutput(t, "patch", "-p1", "--dry-run", "--fuzz=0", "-d", source, "-i", patch); err != nil {
		t.Errorf("%v; it printed:\n%s", err, out)
	}
}

func builtIn(t *testing.T, spec, arch, profile string) {
	out := test(t, "--kernel", spec, "--arch", arch, "--profile", profile, "--mode", "builtin")
	if out.code != 0 {
		t.Fatalf("exit code %d, want 0; it printed:\n%s", out.code, out.output)
	}
	if len(out.run.Cells) != 1 || out.run.Cells[0].Arch != arch {
		t.Fatalf("the cells are %+v, want one for %s", out.run.Cells, arch)
	}
	cell := out.run.Cells[0]
	d := cell.Digests
	if !strings.HasPrefix(cell.Release, strings.TrimPrefix(spec, "debian:")+".") {
		t.Errorf("release %s, want one of %s", cell.Release, spec)
	}
	if cell.Verdict != verdict.Pass || len(d.Host) != 64 || d.Host != d.Kernel || d.Host != d.Guest || d.Module != "" {
		t.Errorf("verdict %s: %s; digests %+v", cell.Verdict, cell.Reason, d)
	}
	for _, test := range cell.Tests {
		// Tests that load or unload must say that they do not apply.
		if loads := strings.Contains(test.Name, "Load") || strings.Contains(test.Name, "load"); test.Name == "TestBuiltIn" && test.Status != verdict.StatusPass ||
			test.Name == "TestDigest" && test.Status != verdict.StatusPass ||
			loads && test.Status != verdict.StatusSkip {
			t.Errorf("%s: %s", test.Name, test.Status)
		}
	}
}

// TestInTreePatch checks the patch against the kernel's own rules. It has no
// Signed-off-by, which whoever submits it adds, and no entry in MAINTAINERS,
// which it does not need for use.
func TestInTreePatch(t *testing.T) {
	t.Parallel()
	k := testKernel(t, target.All()[0])
	patch := filepath.Join(t.TempDir(), "kheaders.patch")
	if out, err := makeOutput(t, kheaders, "module", "--in-tree", "--source", k.Source, "--output", patch); err != nil {
		t.Fatalf("%v; it printed:\n%s", err, out)
	}
	argv := []string{"perl", filepath.Join(k.Source, "scripts/checkpatch.pl"), "--strict", "--no-signoff", "--ignore", "FILE_PATH_CHANGES"}
	check := func(patch string) (string, error) {
		return makeOutput(t, append(slices.Clone(argv), "--root", k.Source, patch)...)
	}
	if out, err := check(patch); err != nil || !strings.Contains(out, "total: 0 errors, 0 warnings, 0 checks, ") {
		t.Errorf("checkpatch: %v; it printed:\n%s", err, out)
	}
	// Make sure that checkpatch can complain.
	text, err := os.ReadFile(patch)
	if err != nil {
		t.Fatal(err)
	}
	bad := strings.Replace(string(text), "\n+static size_t kheaders_size(void)\n", "\n+static size_t kheaders_size( void )\n", 1)
	if bad == string(text) {
		t.Fatal("the patch has not the line to spoil")
	}
	if err := os.WriteFile(patch, []byte(bad), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := check(patch); err == nil {
		t.Errorf("checkpatch does not mind blanks inside parentheses; it printed:\n%s", out)
	}
}
