// SPDX-License-Identifier: BSD-3-Clause

package kernel_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/kernel"
)

// TestBuildFromSeed checks that a profile starts from the default's object
// tree, if there is one, and leaves that tree unchanged.
func TestBuildFromSeed(t *testing.T) {
	f := newFixture(t)
	profile := func(o *kernel.BuildOptions) { o.Profile = "ikheaders" }
	const mark = "mark.h"
	marked := func(k kernel.Kernel) bool {
		_, err := os.Stat(filepath.Join(k.Dir, mark))
		return err == nil
	}
	if k := f.mustBuild(t, second.Name, profile); marked(k) || !strings.Contains(read(t, k.Config), "\nCONFIG_IKHEADERS=y\n") {
		t.Errorf("from scratch it is %+v", k)
	}
	plain := f.mustBuild(t, first.Name)
	write(t, filepath.Join(plain.Dir, mark), "")
	config := read(t, plain.Config)
	if k := f.mustBuild(t, first.Name, profile); !marked(k) || !strings.Contains(read(t, k.Config), "\nCONFIG_IKHEADERS=y\n") {
		t.Errorf("from the default's it is %+v", k)
	}
	if again := f.mustBuild(t, first.Name); !again.Cached || read(t, again.Config) != config || read(t, filepath.Join(again.Dir, ".config")) != config {
		t.Errorf("the default's is now %+v", again)
	}
	// A damaged kernel is no seed.
	write(t, plain.Config, "damaged")
	if k := f.mustBuild(t, first.Name, func(o *kernel.BuildOptions) { o.Profile = "ikheaders-m" }); marked(k) {
		t.Error("a damaged object tree was copied")
	}
}

// TestBuildPatchedFromSeed checks that a patched source's kernel starts from
// the unpatched source's kernel and replaces its paths, but prefers the patched
// source's own kernel of the default profile. A kernel from another compiler is
// no seed.
func TestBuildPatchedFromSeed(t *testing.T) {
	f := newFixture(t)
	mark := func(k kernel.Kernel, name string) {
		write(t, filepath.Join(k.Dir, name+".cmd"), "cc -I"+k.SourceDir+"/include -o "+k.Dir+"/x.o")
	}
	from := func(k kernel.Kernel) string {
		paths, err := filepath.Glob(filepath.Join(k.Dir, "*.cmd"))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, path := range paths {
			names = append(names, strings.TrimSuffix(filepath.Base(path), ".cmd"))
			if got, want := read(t, path), "cc -I"+k.SourceDir+"/include -o "+k.Dir+"/x.o"; got != want {
				t.Errorf("the seed's command is %q, want %q", got, want)
			}
		}
		return strings.Join(names, " ")
	}
	source := fetch(t, f.store, f.tree)
	patched, err := kernel.Patch(t.Context(), f.store, source, []byte("--- a/new\n+++ b/new\n@@ -0,0 +1 @@\n+text\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	build := func(profile string) kernel.Kernel {
		k, err := kernel.Build(t.Context(), f.store, patched, kernel.BuildOptions{
			Target: second, Profile: profile, Config: "CONFIG_NEW=y\n", Variables: []string{"SOURCE_DATE_EPOCH=1"}, Inputs: []string{"more"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if k.SourceDir != patched.Dir || !strings.Contains(read(t, k.Config), "\nCONFIG_NEW=y\n") {
			t.Errorf("the %s kernel is %+v", profile, k)
		}
		return k
	}

	if got := from(build("signed")); got != "" {
		t.Errorf("without any other kernel, it is made from %s", got)
	}
	plain := f.mustBuild(t, second.Name)
	mark(plain, "plain")
	k := build(kernel.DefaultProfile)
	if got := from(k); got != "plain" {
		t.Errorf("the default profile is made from %q, want plain", got)
	}
	mark(k, "patched")
	if got := from(build("ikheaders")); got != "patched plain" {
		t.Errorf("another profile is made from %q, want patched and plain", got)
	}
	for _, name := range []string{"clang", "ld.lld", "llvm-ar"} {
		script(t, f.tools, name, `echo "clang version 99.0"`)
	}
	clang := f.mustBuild(t, second.Name, func(o *kernel.BuildOptions) { o.Profile = "clang" })
	if got := from(clang); got != "" {
		t.Errorf("clang's is made from %s", got)
	}
	mark(clang, "clang")
	if got := from(build("clang")); got != "clang" {
		t.Errorf("clang's of the patched source is made from %q, want clang", got)
	}
}
