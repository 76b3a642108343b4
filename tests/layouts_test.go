// SPDX-License-Identifier: BSD-3-Clause

package tests

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/rig"
	"github.com/kheaders/kheaders/harness/target"
)

// allLayouts makes TestLayouts go through every layout.
var allLayouts = flag.Bool("layouts", false, "build modules in the header layouts of all distributions, not just Ubuntu's")

// layouts are how distributions lay out the headers that modules are built
// with, below root. The files come from a source tree and an object tree that
// have nothing in them but what header packages contain.
var layouts = []struct {
	name string
	make func(l layout)
}{
	{"Ubuntu", func(l layout) {
		// The flavour is its object tree, and links into the tree beside it
		// for whatever that does not have.
		l.copy("usr/src/linux-headers-6.12.9", l.source)
		l.copy("usr/src/linux-headers-"+l.release, l.object)
		l.remove("usr/src/linux-headers-" + l.release + "/Makefile")
		l.linkMissing("usr/src/linux-headers-"+l.release, "usr/src/linux-headers-6.12.9")
		l.link(l.path("usr/src/linux-headers-"+l.release), l.build())
	}},
	{"Debian", func(l layout) {
		// Programs and makefiles are in a package of their own.
		common, flavour := "usr/src/linux-headers-6.12.9-common", "usr/src/linux-headers-"+l.release
		l.copy(common, l.source)
		l.copy(flavour, l.object)
		for _, dir := range []string{"scripts", "tools"} {
			l.copy("usr/lib/linux-kbuild-6.12.9/"+dir, filepath.Join(l.source, dir))
			l.copy("usr/lib/linux-kbuild-6.12.9/"+dir, filepath.Join(l.object, dir))
			for _, in := range []string{common, flavour} {
				l.remove(in + "/" + dir)
				l.link("../../lib/linux-kbuild-6.12.9/"+dir, in+"/"+dir)
			}
		}
		l.write(flavour+"/Makefile", "include "+l.path(common)+"/Makefile\n")
		l.link(l.path(flavour), l.build())
		l.link(l.path(common), "lib/modules/"+l.release+"/source")
	}},
	{"Fedora", func(l layout) {
		l.whole("usr/src/kernels/" + l.release)
		l.link("../../../usr/src/kernels/"+l.release, l.build())
		l.link("build", "lib/modules/"+l.release+"/source")
	}},
	{"SUSE", func(l layout) {
		object := "usr/src/linux-6.12.9-obj/" + l.arch + "/default"
		l.copy("usr/src/linux-6.12.9", l.source)
		l.copy(object, l.object)
		l.write(object+"/Makefile", "include ../../../linux-6.12.9/Makefile\n")
		l.link("linux-6.12.9-obj", "usr/src/linux-obj")
		l.link("../../../usr/src/linux-obj/"+l.arch+"/default", l.build())
		l.link("../../../usr/src/linux-6.12.9", "lib/modules/"+l.release+"/source")
	}},
	{"Arch", func(l layout) {
		l.whole("usr/lib/modules/" + l.release + "/build")
		l.link("usr/lib", "lib")
		l.link("../lib/modules/"+l.release+"/build", "usr/src/linux")
	}},
	{"Alpine", func(l layout) {
		l.whole("usr/src/linux-headers-" + l.release)
		l.link(l.path("usr/src/linux-headers-"+l.release), l.build())
	}},
	{"a plain object tree", func(l layout) { l.link(l.kernel.Build, l.build()) }},
}

// layout is one of them in the making.
type layout struct {
	t                             *testing.T
	root, source, object, release string
	arch                          string
	kernel                        builtKernel
}

func (l layout) path(name string) string { return filepath.Join(l.root, name) }

// build is where modules are built.
func (l layout) build() string { return "lib/modules/" + l.release + "/build" }

func (l layout) check(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// copy adds what is in a directory. The copies are hard links: nobody writes to
// headers.
func (l layout) copy(to, from string) {
	l.t.Helper()
	l.check(os.MkdirAll(l.path(to), 0o755))
	if out, err := makeOutput(l.t, "cp", "-al", from+"/.", l.path(to)); err != nil {
		l.t.Fatalf("%v: %s", err, out)
	}
}

// whole puts both trees into one.
func (l layout) whole(dir string) {
	l.t.Helper()
	l.copy(dir, l.object)
	l.remove(dir + "/Makefile")
	l.copy(dir, l.source)
}

func (l layout) remove(name string) { l.t.Helper(); l.check(os.RemoveAll(l.path(name))) }

func (l layout) link(to, name string) {
	l.t.Helper()
	l.check(os.MkdirAll(filepath.Dir(l.path(name)), 0o755))
	l.check(os.Symlink(to, l.path(name)))
}

// write replaces a file.
func (l layout) write(name, text string) {
	l.t.Helper()
	l.remove(name)
	l.check(os.WriteFile(l.path(name), []byte(text), 0o644))
}

// linkMissing links to whatever is in one tree and not in the other.
func (l layout) linkMissing(in, from string) {
	l.t.Helper()
	l.check(fs.WalkDir(os.DirFS(l.path(from)), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if _, err := os.Lstat(l.path(in + "/" + name)); err == nil {
			return nil
		}
		l.link(strings.Repeat("../", strings.Count(name, "/")+1)+filepath.Base(from)+"/"+name, in+"/"+name)
		if entry.IsDir() {
			return fs.SkipDir
		}
		return nil
	}))
}

// packageHeaders copies what header packages contain out of a kernel's trees.
func packageHeaders(t *testing.T, k builtKernel, srcArch string) (source, object string) {
	t.Helper()
	dir := t.TempDir()
	source, object = filepath.Join(dir, "source"), filepath.Join(dir, "object")
	for _, of := range []struct {
		to, from string
		paths    []string
	}{
		{source, k.Source, []string{"Makefile", "Kbuild", "Kconfig", "include", "scripts", "tools/objtool", "arch/" + srcArch + "/include", "arch/" + srcArch + "/Makefile*", "arch/" + srcArch + "/Kbuild"}},
		{object, k.Build, []string{"Makefile", "Module.symvers", ".config", "include", "scripts", "tools/objtool/objtool", "arch/" + srcArch + "/include"}},
	} {
		if err := os.MkdirAll(of.to, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, path := range of.paths {
			// The real trees are other people's, so these are true copies.
			out, err := makeOutput(t, "sh", "-c", `cd "$1" && for name in $2; do [ ! -e "$name" ] || cp -a --parents "$name" "$3" || exit 1; done`, "sh", of.from, path, of.to)
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
	}
	return source, object
}

// TestLayouts builds the module in the layouts of the distributions' header
// packages, made from a real kernel: around an archive of ours, and through DKMS,
// which packs the headers that kbuild finds. Every archive must be that of the
// kernel's own trees.
func TestLayouts(t *testing.T) {
	t.Parallel()
	arch := target.All()[0]
	k := testKernel(t, arch)
	source, object := packageHeaders(t, k, arch.SrcArch)
	want := packed(t, arch, k.Source, k.Build)
	for _, of := range layouts {
		if of.name != layouts[0].name && !*allLayouts {
			continue
		}
		t.Run(of.name, func(t *testing.T) {
			l := layout{t: t, root: t.TempDir(), source: source, object: object, release: k.Release, arch: arch.Name, kernel: k}
			of.make(l)
			build := l.path(l.build())
			trees := kbuildTrees(t, build)
			archive := packed(t, arch, trees[0], trees[1])
			if got, want := digest(t, archive), digest(t, want); got != want {
				t.Errorf("the archive has sha256 %s, that of the kernel's trees %s", got, want)
			}

			module := filepath.Join(t.TempDir(), "module")
			if out, err := makeOutput(t, kheaders, "module", "--archive", archive, "--build", build, "--output", module); err != nil {
				t.Fatalf("%v; it printed:\n%s", err, out)
			}
			makeModule(t, module, "-C", build, "M="+module)
			dkms, err := rig.BuildDKMS(t.Context(), build, arch, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			for name, path := range map[string]string{"kbuild": filepath.Join(module, rig.ModuleFile), "dkms": dkms} {
				ko, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				got, _, err := rig.CheckModule(ko, arch, k.Release)
				if want := digest(t, want); err != nil || got != want {
					t.Errorf("%s: the module has an archive with sha256 %s (%v), want %s", name, got, err, want)
				}
			}
		})
	}
}

// kbuildTrees returns the source and the object tree that a module's build gets
// to see.
func kbuildTrees(t *testing.T, build string) [2]string {
	t.Helper()
	dir := t.TempDir()
	text := "$(info trees: $(realpath $(srctree)) $(realpath $(objtree)))\n"
	if err := os.WriteFile(filepath.Join(dir, "Kbuild"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := makeOutput(t, "make", "-C", build, "M="+dir)
	_, line, ok := strings.Cut(out, "trees: ")
	line, _, _ = strings.Cut(line, "\n")
	trees := strings.Fields(line)
	if err != nil || !ok || len(trees) != 2 {
		t.Fatalf("%v; make printed:\n%s", err, out)
	}
	return [2]string(trees)
}

// packed packs headers, and returns the archive.
func packed(t *testing.T, arch target.Target, source, build string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kheaders.tar.xz")
	out, err := makeOutput(t, kheaders, "archive", "--source", source, "--build", build, "--arch", arch.Name, "--output", path)
	if err != nil {
		t.Fatalf("%v; it printed:\n%s", err, out)
	}
	return path
}

func digest(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
