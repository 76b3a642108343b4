// SPDX-License-Identifier: BSD-3-Clause

package tests

import (
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/rig"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
)

// profiles are kernels configured to get in the module's way. Each is on one
// architecture, since the results do not depend on it.
var profiles = []struct {
	name, arch string
	// passes are tests that other kernels skip.
	passes []string
	// skips are tests that this kernel must skip.
	skips []string
}{
	{"ikheaders", target.Quickest().Name, []string{"TestSysfsTaken"}, []string{"TestSysfs", "TestBesideOwnModule", "TestUnsignedRefused", "TestCompressed"}},
	{"ikheaders-m", target.Quickest().Name, []string{"TestSysfs", "TestBesideOwnModule", "TestCompressed"}, []string{"TestSysfsTaken", "TestUnsignedRefused"}},
	{"debug", target.Names()[0], []string{"TestSysfs", "TestLeaks"}, []string{"TestSysfsTaken", "TestBesideOwnModule"}},
	{"signed", target.Names()[0], []string{"TestSysfs", "TestUnsignedRefused", "TestCompressed"}, []string{"TestSysfsTaken", "TestBesideOwnModule", "TestLeaks"}},
}

func TestProfiles(t *testing.T) {
	for _, profile := range profiles {
		t.Run(profile.name, func(t *testing.T) {
			out := test(t, "--kernel", "debian:6.12", "--arch", profile.arch, "--profile", profile.name)
			if out.code != 0 || len(out.run.Cells) != 1 || out.run.Cells[0].Verdict != verdict.Pass {
				t.Fatalf("exit code %d; it printed:\n%s", out.code, out.output)
			}
			status := map[string]verdict.Status{}
			for _, test := range out.run.Cells[0].Tests {
				status[test.Name] = test.Status
			}
			for _, name := range profile.passes {
				if status[name] != verdict.StatusPass {
					t.Errorf("%s: %q, want %q", name, status[name], verdict.StatusPass)
				}
			}
			for _, name := range profile.skips {
				if status[name] != verdict.StatusSkip {
					t.Errorf("%s: %q, want %q", name, status[name], verdict.StatusSkip)
				}
			}
		})
	}
}

// TestUnsignedModule boots a kernel that requires signatures with an unsigned
// module. The verdict must give the kernel's error and its meaning.
func TestUnsignedModule(t *testing.T) {
	session, err := rig.Prepare(t.Context(), "debian:6.12", target.All()[0], "signed", t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	session.Carrier().Module.Path = session.Carrier().Unsigned
	cell := session.Run(t.Context())
	if cell.Verdict != verdict.TestFailed || !strings.Contains(cell.Reason, "key was rejected by service") || !strings.Contains(cell.Reason, "sign-file") {
		t.Errorf("verdict %s: %s; want %s with the kernel's error", cell.Verdict, cell.Reason, verdict.TestFailed)
	}
}
