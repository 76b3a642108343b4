// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/doctor"
)

// TestKinds checks that a spec is of exactly one kind, and what each kind says
// about its kernels.
func TestKinds(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "linux.tar.xz")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	examples := []struct {
		spec  string
		facts facts
	}{
		{dir, facts{configurable: true}},
		{file, facts{configurable: true}},
		{"debian:6.1", facts{configurable: true}},
		{"debian-image:6.1", facts{fromSource: "debian:6.1", headerPackages: true, uses: []string{doctor.Image}}},
		{"https://example.org/linux.tar.xz#sha256=" + strings.Repeat("0", 64), facts{configurable: true}},
	}
	if len(examples) != len(kinds) {
		t.Fatalf("there are %d kinds and %d examples", len(kinds), len(examples))
	}
	for i, e := range examples {
		for j, k := range kinds {
			from, err := k.parse(e.spec)
			if err != nil || (from != nil) != (i == j) {
				t.Errorf("%s as %s: %v, %v", e.spec, k.form, from, err)
			}
		}
		spec, err := ParseSpec(e.spec)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseSpec(e.spec); again != spec || err != nil {
			t.Errorf("%s is %v, and then %v (%v)", e.spec, spec, again, err)
		}
		f := e.facts
		if spec.Configurable() != f.configurable || spec.HeaderPackages() != f.headerPackages || !slices.Equal(spec.Uses(), f.uses) || spec.origin.facts().fromSource != f.fromSource {
			t.Errorf("%s has %+v", e.spec, spec.origin.facts())
		}
	}
}
