// SPDX-License-Identifier: BSD-3-Clause

package source_test

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kheaders/kheaders/module/source"
)

var xz = []string{"xz", "--threads=2"}

// kernelTree returns as much of a kernel tree as the patch needs.
func kernelTree() fstest.MapFS {
	return fstest.MapFS{
		"Makefile":        text("# SPDX\nVERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 117\nVERSION = 9\n"),
		"init/Kconfig":    text("config IKCONFIG\n\ttristate \"x\"\n\nconfig IKCONFIG_PROC\n\tbool \"x\"\n\thelp\n\t  Help.\n\n\t  More help.\n\nconfig IKHEADERS\n\ttristate \"x\"\n\nconfig LOG_BUF_SHIFT\n\tint\n\nconfig LAST\n\tbool\n"),
		"kernel/Makefile": text("obj-y = fork.o\nobj-$(CONFIG_IKCONFIG) += configs.o\nobj-$(CONFIG_IKHEADERS) += kheaders.o\nobj-$(CONFIG_SMP) += stop_machine.o\n"),
	}
}

func text(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s), Mode: 0o644} }

// head returns the patch without the files that it adds.
func head(patch []byte) string {
	before, _, _ := strings.Cut(string(patch), "diff --git a/"+source.InTreeDir+"/")
	return before
}

func TestInTreeGolden(t *testing.T) {
	for version, edit := range map[string]func(fstest.MapFS){
		"6.12": func(fstest.MapFS) {},
		// IKHEADERS came in 5.2, and hostprogs had another name before 5.6.
		"4.14": func(m fstest.MapFS) {
			m["Makefile"] = text("VERSION = 4\nPATCHLEVEL = 14\n")
			for name, cut := range map[string]string{
				"init/Kconfig":    "config IKHEADERS\n\ttristate \"x\"\n\n",
				"kernel/Makefile": "obj-$(CONFIG_IKHEADERS) += kheaders.o\n",
			} {
				m[name] = text(strings.Replace(string(m[name].Data), cut, "", 1))
			}
		},
		// At the edges of the files.
		"edges": func(m fstest.MapFS) {
			m["init/Kconfig"] = text("menuconfig IKHEADERS\n\ttristate\n")
			m["kernel/Makefile"] = text("obj-$(CONFIG_IKHEADERS)\t+= kheaders.o\n")
		},
	} {
		tree := kernelTree()
		edit(tree)
		patch, err := source.InTree(tree, xz)
		if err != nil {
			t.Errorf("%s: %v", version, err)
			continue
		}
		golden(t, "intree-"+version+".patch", []byte(head(patch)))
		again, err := source.InTree(tree, xz)
		if err != nil || !bytes.Equal(patch, again) {
			t.Errorf("%s: a second time it is another, or %v", version, err)
		}
	}
}

// TestInTreeFiles checks what the patch adds.
func TestInTreeFiles(t *testing.T) {
	for version, hostprogs := range map[string]string{
		"VERSION = 4\nPATCHLEVEL = 14\n": "hostprogs-y := kheaders_pack",
		"VERSION = 5\nPATCHLEVEL = 5\n":  "hostprogs-y := kheaders_pack",
		"VERSION = 5\nPATCHLEVEL = 6\n":  "hostprogs := kheaders_pack",
		"VERSION = 7\nPATCHLEVEL = 0\n":  "hostprogs := kheaders_pack",
	} {
		tree := kernelTree()
		tree["Makefile"] = text(version)
		patch, err := source.InTree(tree, xz)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{
			hostprogs, "XZ_DEFAULTS= XZ_OPT= xz --threads=2 < $<",
			"/kheaders_pack.c", "/kheaders_main.c", "/kheaders_data.S", "/kheaders.h.in", "/Makefile", "/.gitignore",
			"@SHA256@", "@SIZE@", "@RELEASE@",
		} {
			if !bytes.Contains(patch, []byte(line)) {
				t.Errorf("%q: the patch has no %q", version, line)
			}
		}
		if bytes.Contains(patch, []byte("{{")) {
			t.Errorf("%q: something was not rendered", version)
		}
	}
}

// inTreeKbuild defines what a kernel's build defines for the patch's Makefile.
const inTreeKbuild = `
VERSION := 6
PATCHLEVEL := 12
KERNELRELEASE := 6.12.1
SRCARCH := x86
srctree := .
objtree := .
obj := kernel/kheaders_proc
filechk = set -e; { $(filechk_$(1)); } > $@.tmp; cmp -s $@.tmp $@ || mv $@.tmp $@
if_changed = $(cmd_$(1))
.PHONY: FORCE
FORCE:
include $(obj)/Makefile
$(obj)/kheaders_pack: $(obj)/kheaders_pack.c
	gcc -o $@ $<
`

// TestInTreeBuild packs the headers the way the build of a patched kernel does.
func TestInTreeBuild(t *testing.T) {
	tree := kernelTree()
	patch, err := source.InTree(tree, []string{"cat"}) // no compression
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(tree, fstest.MapFS{
		"include/linux/one.h":            text("int one;\n"),
		"arch/x86/include/asm/two.h":     text("int two;\n"),
		"include/generated/autoconf.h":   text("#define CONFIG_64BIT 1\n"),
		"include/generated/utsrelease.h": text("#define UTS_RELEASE \"6.12.1-toy\"\n"),
		"build.mk":                       text(inTreeKbuild),
	})
	dir := t.TempDir()
	if err := os.CopyFS(dir, tree); err != nil {
		t.Fatal(err)
	}
	apply := exec.Command("patch", "-p1", "-d", dir)
	apply.Stdin = bytes.NewReader(patch)
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%v; it printed:\n%s", err, out)
	}
	checkPacked(t, filepath.Join(dir, source.InTreeDir), func() string {
		out, err := exec.Command("make", "-C", dir, "-f", "build.mk", source.InTreeDir+"/kheaders.h").CombinedOutput()
		if err != nil {
			t.Fatalf("%v; it printed:\n%s", err, out)
		}
		return string(out)
	})
}

func TestHeaderTemplate(t *testing.T) {
	dkms, err := source.DKMS(xz)
	if err != nil {
		t.Fatal(err)
	}
	a := archive()
	a.SrcArch = "" // the template has none: the kernel packs its own headers
	filled := strings.NewReplacer("@SHA256@", a.SHA256, "@SIZE@", "4347092", "@RELEASE@", a.Release).Replace(string(dkms["kheaders.h.in"]))
	files, err := source.Render(a)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(files["kheaders.h"]), filled); diff != "" {
		t.Errorf("filled in it is not what Render writes (-Render +template):\n%s", diff)
	}
}

func TestInTreeRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(fstest.MapFS)
		want string
		is   error
	}{
		"no kernel":        {func(m fstest.MapFS) { delete(m, "Makefile") }, "Makefile: file does not exist", fs.ErrNotExist},
		"no version":       {func(m fstest.MapFS) { m["Makefile"] = text("VERSION = 6\nPATCHLEVEL = x\n") }, "Makefile: has no VERSION and PATCHLEVEL of a kernel", nil},
		"no Kconfig":       {func(m fstest.MapFS) { delete(m, "init/Kconfig") }, "init/Kconfig: file does not exist", fs.ErrNotExist},
		"no anchor":        {func(m fstest.MapFS) { m["init/Kconfig"] = text("config IKCONFIG\n") }, "init/Kconfig: has no place for the lines to add", source.ErrNoAnchor},
		"empty":            {func(m fstest.MapFS) { m["kernel/Makefile"] = text("") }, "kernel/Makefile: its last line has no newline", nil},
		"cut short":        {func(m fstest.MapFS) { m["kernel/Makefile"] = text("obj-$(CONFIG_IKCONFIG) += configs.o") }, "kernel/Makefile: its last line has no newline", nil},
		"no place":         {func(m fstest.MapFS) { m["kernel/Makefile"] = text("obj-y += fork.o\n") }, "kernel/Makefile: has no place for the lines to add", source.ErrNoAnchor},
		"goes on":          {func(m fstest.MapFS) { m["kernel/Makefile"] = text("obj-$(CONFIG_IKCONFIG) += a.o \\\n\tb.o\n") }, "kernel/Makefile: has no place for the lines to add", source.ErrNoAnchor},
		"patched":          {func(m fstest.MapFS) { m["kernel/kheaders_proc/Makefile"] = text("x\n") }, "kernel/kheaders_proc: CONFIG_IKHEADERS_PROC is there already", source.ErrPatched},
		"an older one":     {func(m fstest.MapFS) { m["init/Kconfig"] = text("config IKHEADERS_PROC\n\ttristate\n") }, "init/Kconfig: CONFIG_IKHEADERS_PROC is there already", source.ErrPatched},
		"a directory here": {func(m fstest.MapFS) { delete(m, "init/Kconfig"); m["init/Kconfig/x"] = text("") }, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			tree := kernelTree()
			tt.edit(tree)
			patch, err := source.InTree(tree, xz)
			if _, ok := errors.AsType[*source.TreeError](err); !ok || patch != nil {
				t.Fatalf("got %d bytes, error %v", len(patch), err)
			}
			if tt.want != "" && err.Error() != tt.want {
				t.Errorf("error %q, want %q", err, tt.want)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error %v is not %v", err, tt.is)
			}
		})
	}
}
