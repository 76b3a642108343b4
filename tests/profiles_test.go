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
	name, spec, arch string
	// passes are tests that other kernels skip.
	passes []string
	// skips are tests that this kernel must skip.
	skips []string
	// then looks at the same kernel in another way.
	then func(*testing.T)
}{
	{"debug", "debian:6.12", target.All()[0].Name, []string{"TestSysfs", "TestLeaks"}, []string{"TestSysfsTaken", "TestBesideOwnModule"}, sourceLines},
	{"ikheaders", "debian:6.12", target.Quickest().Name, []string{"TestSysfsTaken"}, []string{"TestSysfs", "TestBesideOwnModule", "TestUnsignedRefused", "TestCompressed"}, nil},
	{"ikheaders-m", "debian:6.12", target.Quickest().Name, []string{"TestSysfs", "TestBesideOwnModule", "TestCompressed"}, []string{"TestSysfsTaken", "TestUnsignedRefused"}, nil},
	{"signed", "debian:6.12", target.All()[0].Name, []string{"TestSysfs", "TestUnsignedRefused", "TestCompressed"}, []string{"TestSysfsTaken", "TestBesideOwnModule", "TestLeaks"}, unsignedModule},
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	for _, profile := range profiles {
		t.Run(profile.name, func(t *testing.T) {
			t.Parallel()
			out := test(t, "--kernel", profile.spec, "--arch", profile.arch, "--profile", profile.name)
			if out.code != 0 || len(out.run.Cells) != 1 || out.run.Cells[0].Verdict != verdict.Pass {
				t.Fatalf("exit code %d; it printed:\n%s", out.code, out.output)
			}
			cell := out.run.Cells[0]
			if d := cell.Digests; !strings.HasPrefix(cell.Release, strings.TrimPrefix(profile.spec, "debian:")+".") ||
				len(d.Host) != 64 || d.Host != d.Module || d.Host != d.Guest {
				t.Errorf("release %s, digests %+v", cell.Release, d)
			}
			status := map[string]verdict.Status{}
			for _, test := range cell.Tests {
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
			if profile.then != nil {
				profile.then(t)
			}
		})
	}
}

// unsignedModule boots a kernel that requires signatures with an unsigned
// module. The verdict must give the kernel's error and its meaning.
func unsignedModule(t *testing.T) {
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
