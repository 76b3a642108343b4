// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

const layoutRelease = "6.12.9-toy"

// layoutMakefile finds the trees as the kernel's does.
const layoutMakefile = `VERSION = 6
PATCHLEVEL = 12
abs_srctree := $(realpath $(dir $(lastword $(MAKEFILE_LIST))))
trees:
	@echo $(abs_srctree)
	@echo $(CURDIR)
`

// layouts are how distributions lay out the headers that modules are built
// with, below root. plain has a kernel's source tree and its object tree, with
// nothing in them but what such packages contain.
var layouts = []struct {
	name string
	make func(t *testing.T, root string, plain Options)
}{
	{"plain", func(t *testing.T, root string, plain Options) {
		copyTree(t, filepath.Join(root, "source"), plain.Source)
		copyTree(t, filepath.Join(root, "object"), plain.Build)
		put(t, filepath.Join(root, "object/Makefile"), "include "+root+"/source/Makefile\n")
		symlink(t, "../../../object", filepath.Join(root, "lib/modules/"+layoutRelease+"/build"))
	}},
	{"Debian", func(t *testing.T, root string, plain Options) {
		common, flavour := filepath.Join(root, "usr/src/linux-headers-6.12.9-common"), filepath.Join(root, "usr/src/linux-headers-"+layoutRelease)
		copyTree(t, common, plain.Source)
		copyTree(t, flavour, plain.Build)
		put(t, filepath.Join(flavour, "Makefile"), "include "+common+"/Makefile\n")
		symlink(t, "../../lib/linux-kbuild-6.12.9/scripts", filepath.Join(flavour, "scripts"))
		symlink(t, flavour, filepath.Join(root, "lib/modules/"+layoutRelease+"/build"))
		symlink(t, common, filepath.Join(root, "lib/modules/"+layoutRelease+"/source"))
	}},
	{"Ubuntu", func(t *testing.T, root string, plain Options) {
		ubuntu(t, root, plain, "linux-headers-6.12.9", "linux-headers-"+layoutRelease)
	}},
	{"Ubuntu with a newer kernel", func(t *testing.T, root string, plain Options) {
		ubuntu(t, root, plain, "linux-hwe-6.12-headers-6.12.9", "linux-headers-"+layoutRelease)
	}},
	{"Fedora", func(t *testing.T, root string, plain Options) {
		whole(t, filepath.Join(root, "usr/src/kernels", layoutRelease), plain)
		symlink(t, "../../../usr/src/kernels/"+layoutRelease, filepath.Join(root, "lib/modules/"+layoutRelease+"/build"))
		symlink(t, "build", filepath.Join(root, "lib/modules/"+layoutRelease+"/source"))
	}},
	{"SUSE", func(t *testing.T, root string, plain Options) {
		source, object := filepath.Join(root, "usr/src/linux-6.12.9"), filepath.Join(root, "usr/src/linux-6.12.9-obj", arch.Name, "default")
		copyTree(t, source, plain.Source)
		copyTree(t, object, plain.Build)
		put(t, filepath.Join(object, "Makefile"), "include ../../../linux-6.12.9/Makefile\n")
		symlink(t, "linux-6.12.9-obj", filepath.Join(root, "usr/src/linux-obj"))
		symlink(t, "../../../usr/src/linux-obj/"+arch.Name+"/default", filepath.Join(root, "lib/modules/"+layoutRelease+"/build"))
		symlink(t, "../../../usr/src/linux-6.12.9", filepath.Join(root, "lib/modules/"+layoutRelease+"/source"))
	}},
	{"Arch", func(t *testing.T, root string, plain Options) {
		symlink(t, "usr/lib", filepath.Join(root, "lib"))
		whole(t, filepath.Join(root, "usr/lib/modules", layoutRelease, "build"), plain)
		symlink(t, "../lib/modules/"+layoutRelease+"/build", filepath.Join(root, "usr/src/linux"))
	}},
	{"Alpine", func(t *testing.T, root string, plain Options) {
		whole(t, filepath.Join(root, "usr/src/linux-headers-"+layoutRelease), plain)
		symlink(t, filepath.Join(root, "usr/src/linux-headers-"+layoutRelease), filepath.Join(root, "lib/modules/"+layoutRelease+"/build"))
	}},
}

// whole puts both trees into one.
func whole(t *testing.T, dir string, plain Options) {
	t.Helper()
	copyTree(t, dir, plain.Source)
	copyTree(t, dir, plain.Build)
}

// ubuntu makes a flavour that consists of its object tree, and of links into
// the source tree beside it for whatever that does not have.
func ubuntu(t *testing.T, root string, plain Options, common, flavour string) {
	t.Helper()
	sibling, dir := filepath.Join(root, "usr/src", common), filepath.Join(root, "usr/src", flavour)
	copyTree(t, sibling, plain.Source)
	copyTree(t, dir, plain.Build)
	err := filepath.WalkDir(sibling, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(sibling, path)
		if err != nil {
			return err
		}
		info, err := os.Lstat(filepath.Join(dir, name))
		switch {
		case err == nil && info.IsDir() && entry.IsDir():
			return nil
		case err == nil:
			return errors.New(name + " is in both trees")
		}
		symlink(t, strings.Repeat("../", strings.Count(name, "/")+1)+common+"/"+name, filepath.Join(dir, name))
		if entry.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	symlink(t, dir, filepath.Join(root, "lib/modules/"+layoutRelease+"/build"))
}

func copyTree(t *testing.T, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// plainTrees returns a kernel's trees: a toy's, or those of the real kernel that
// the flags name, as far as header packages have them.
func plainTrees(t *testing.T) Options {
	t.Helper()
	plain := smallTree(t)
	put(t, filepath.Join(plain.Source, "include/acpi/acpi.h"), "#define ACPI /* none */ 0\n")
	put(t, filepath.Join(plain.Source, "include/uapi/linux/codes.h"), "#define CODES\n")
	symlink(t, "../uapi/linux/codes.h", filepath.Join(plain.Source, "include/dt-bindings/codes.h"))
	symlink(t, "../../"+inArch+"/asm", filepath.Join(plain.Source, "include/dt-bindings/asm"))
	if *sourceFlag != "" {
		named, err := target.Lookup(*archFlag)
		if err != nil {
			t.Fatal(err)
		}
		if *buildFlag == "" || named.Name != arch.Name {
			t.Skip("this needs an object tree for " + arch.Name)
		}
		for to, from := range map[string]string{plain.Source: *sourceFlag, plain.Build: *buildFlag} {
			if err := os.RemoveAll(to); err != nil {
				t.Fatal(err)
			}
			for _, sub := range []string{"include", inArch} {
				copyTree(t, filepath.Join(to, sub), filepath.Join(from, sub))
			}
		}
	}
	for _, name := range []string{"Kbuild", "Kconfig"} {
		put(t, filepath.Join(plain.Source, name), "")
	}
	put(t, filepath.Join(plain.Source, "Makefile"), layoutMakefile)
	return plain
}

// testPackerLayouts packs the headers of one kernel in each layout, from the
// trees that kbuild finds.
func testPackerLayouts(t *testing.T, program string) {
	plain := plainTrees(t)
	want, err := inGo(t, plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range layouts {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			tt.make(t, root, plain)
			build := filepath.Join(root, "lib/modules", layoutRelease, "build")
			out, err := run.Cmd{Argv: []string{"make", "--no-print-directory", "-C", build, "trees"}}.Output(t.Context())
			trees := strings.Fields(string(out))
			if err != nil || len(trees) != 2 {
				t.Fatalf("finding the trees: %q, %v", out, err)
			}
			opts := Options{Source: trees[0], Build: trees[1], Target: arch}
			inBoth(t, program, opts, want)
			if opts.Source == opts.Build {
				inBoth(t, program, Options{Source: build, Target: arch}, want)
			}
		})
	}
}

// inBoth checks what both packers write.
func inBoth(t *testing.T, program string, opts Options, want []byte) {
	t.Helper()
	got, err := inGo(t, opts)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the tar of %s and %s has %d bytes in Go, not the plain tree's %d", opts.Source, opts.Build, len(got), len(want))
	}
	if got, err = inC(t, program, opts); err != nil {
		t.Fatal(err)
	}
	compareTars(t, want, got)
}
