// SPDX-License-Identifier: BSD-3-Clause

// Package kvm runs kheaders on a KVM that works, on a host that need not have
// one: in a machine of which QEMU emulates the processor with its
// virtualization. Only make test-kvm does, which takes some minutes.
package kvm

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kheaders/kheaders/harness/report"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
	"github.com/kheaders/kheaders/tests/kvm/plan"
)

// patience is how long a machine may take in all. It is for hosts that have
// other things to do.
const patience = 30 * time.Minute

// slow stretches the limits of a boot under KVM: here it is emulated in turn.
var slow = []string{"--silence", "3m", "--test-deadline", "3m", "--deadline", "15m"}

func TestKVM(t *testing.T) {
	for _, arch := range target.All() {
		t.Run(arch.Name, func(t *testing.T) {
			if arch.Native() {
				native(t, arch)
			} else {
				foreign(t, arch)
			}
		})
	}
}

// native runs the command in a machine whose root is the host's own, so that it
// has every program, and the user's cache, which a run under TCG has filled. It
// has to find the accelerator itself.
func native(t *testing.T, arch target.Target) {
	m := machine{target: arch, packages: unpacked(t, arch, "linux-image-"+arch.Debian), root: "/"}
	kheaders := filepath.Join(t.TempDir(), "kheaders")
	compile(t, arch, "build", "-o", kheaders, "./harness/cmd/kheaders")
	underTCG(t, kheaders, arch, t.TempDir())

	results := t.TempDir()
	printed := m.run(t, plan.Plan{
		Results: results, Dir: repo(t), Env: os.Environ(),
		Argv: append([]string{kheaders, "test", "--arch", arch.Name, "--accel", "auto", "--results", results}, slow...),
	})
	t.Log(printed)
	cell := read(t, results)
	if cell.Accel != "kvm" || cell.Verdict != verdict.Pass {
		t.Errorf("accelerator %q (%s), verdict %s: %s", cell.Accel, cell.AccelWhy, cell.Verdict, cell.Reason)
	}
	ran(t, cell.Tests)
}

// foreign has the host make everything that is booted, since it has no such
// compilers in that machine: its root is Debian's QEMU and what that needs. The
// test of package qemu chooses the accelerator there and boots; what the guest
// says is judged here.
func foreign(t *testing.T, arch target.Target) {
	root := unpacked(t, arch, "linux-image-"+arch.Debian, arch.QEMUPackage, "util-linux", "dash")
	m := machine{target: arch, packages: root, root: root}
	results := t.TempDir()
	in := func(name string) string { return filepath.Join(results, name) }
	kheaders := filepath.Join(t.TempDir(), "kheaders")
	output(t, "go", "build", "-o", kheaders, repo(t)+"/harness/cmd/kheaders")
	made := t.TempDir()
	cell := underTCG(t, kheaders, arch, made)
	for _, a := range cell.Artifacts {
		if !filepath.IsAbs(a.Path) {
			a.Path = filepath.Join(made, a.Path)
		}
		if a.Name == "kernel" || a.Name == "initramfs" {
			output(t, "cp", a.Path, in(a.Name))
		}
	}
	compile(t, arch, "test", "-c", "-tags", "kvm", "-o", in("qemu.test"), "./harness/internal/qemu")

	printed := m.run(t, plan.Plan{
		Results: results, Dir: "/", Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
		Argv: []string{
			in("qemu.test"), "-test.v", "-test.run=^TestKVM$", "-test.timeout=30m",
			"-arch", arch.Name, "-kernel", in("kernel"), "-initramfs", in("initramfs"), "-results", results,
		},
	})
	t.Log(printed)
	if !strings.Contains(printed, "\n--- PASS: TestKVM ") {
		t.Error("the test in the machine has not passed")
	}
	result := judge(t, results, cell)
	if result.Verdict != verdict.Pass {
		t.Errorf("verdict %s: %s", result.Verdict, result.Reason)
	}
	ran(t, result.Tests)
}

// judge gives what a guest has left in dir its verdict, if it is to do what it
// did in that cell.
func judge(t *testing.T, dir string, cell report.Cell) verdict.Result {
	t.Helper()
	scanner, recorder := verdict.NewScanner(nil), verdict.NewRecorder()
	decoder := verdict.NewDecoder(func(line verdict.Line) { recorder.Add(line) })
	for name, to := range map[string]io.Writer{"console.log": scanner, "events.jsonl": decoder} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		_, err = to.Write(text)
		must(t, err)
	}
	must(t, decoder.Close())
	evidence := verdict.Evidence{SHA256: cell.Digests.Host, Record: recorder.Record(), Console: scanner.Console()}
	for _, test := range cell.Tests {
		evidence.Declared = append(evidence.Declared, test.Name)
	}
	return verdict.Decide(evidence)
}

// underTCG has the host run a cell under TCG, with its results in a directory.
func underTCG(t *testing.T, kheaders string, arch target.Target, results string) report.Cell {
	t.Helper()
	printed := output(t, kheaders, "test", "--arch", arch.Name, "--accel", "tcg", "--results", results)
	cell := read(t, results)
	if cell.Accel != "tcg" || cell.Verdict != verdict.Pass {
		t.Fatalf("accelerator %q, verdict %s; it printed:\n%s", cell.Accel, cell.Verdict, printed)
	}
	return cell
}

// read returns the one cell of a run.
func read(t *testing.T, results string) report.Cell {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(results, "results.json"))
	must(t, err)
	var run report.Run
	must(t, json.Unmarshal(text, &run))
	if len(run.Cells) != 1 {
		t.Fatalf("%d cells, want one:\n%s", len(run.Cells), text)
	}
	return run.Cells[0]
}

// ran holds that tests have run.
func ran(t *testing.T, tests []verdict.Test) {
	t.Helper()
	count := 0
	for _, test := range tests {
		if test.Status == verdict.StatusPass {
			count++
		}
	}
	if count < 20 {
		t.Errorf("%d tests passed, want at least 20", count)
	}
}
