// SPDX-License-Identifier: BSD-3-Clause

package source_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kheaders/kheaders/module/source"
)

// golden compares a text with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestDKMS(t *testing.T) {
	files, err := source.DKMS([]string{"xz", "--stdout", "--lzma2=preset=6,lc=4"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Kbuild", "Makefile", "dkms.conf", "kheaders.h.in", "kheaders_data.S", "kheaders_main.c", "kheaders_pack.c"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(files))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for name, text := range files {
		first, _, _ := strings.Cut(string(text), "\n")
		if !strings.Contains(first, "SPDX-License-Identifier: GPL-2.0-only") {
			t.Errorf("%s starts with %q, which is not its licence", name, first)
		}
		if bytes.Contains(text, []byte("{{")) {
			t.Errorf("%s was not rendered", name)
		}
	}
	golden(t, "dkms.golden.conf", files["dkms.conf"])
	for name, words := range map[string][]string{
		"Kbuild":        {source.ModuleName + ".o", source.ArchiveName, source.PackerName, "xz --stdout --lzma2=preset=6,lc=4 <"},
		"kheaders.h.in": {`"@SHA256@"`, " @SIZE@\n", `"@RELEASE@"`, `"` + source.Version + `"`},
	} {
		for _, word := range words {
			if !bytes.Contains(files[name], []byte(word)) {
				t.Errorf("%s has no %q", name, word)
			}
		}
	}
}

// TestRenderForDKMS: an archive is for one kernel, and DKMS is told for which.
func TestRenderForDKMS(t *testing.T) {
	files, err := source.Render(archive())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "release.golden.conf", files["dkms.conf"])
	unknown := archive()
	unknown.Release = ""
	if files, err = source.Render(unknown); err != nil {
		t.Fatal(err)
	}
	golden(t, "no-release.golden.conf", files["dkms.conf"])
}

// kbuild is what the Kbuild of the DKMS tree finds defined in a kernel's build.
const kbuild = `
VERSION := 6
PATCHLEVEL := 12
SRCARCH := x86
HOSTCC := gcc
srctree := $(KERNEL)
objtree := $(KERNEL)
cmd = $(cmd_$(1))
.PHONY: FORCE
FORCE:
include Kbuild
`

// TestDKMSBuild packs and describes the headers as a kernel's build has it done:
// up to Linux 6.12 the module's directory is an absolute path, since then it is
// the working directory.
func TestDKMSBuild(t *testing.T) {
	files, err := source.DKMS([]string{"cat"}) // which compresses nothing
	if err != nil {
		t.Fatal(err)
	}
	kernel := t.TempDir()
	if err := os.CopyFS(kernel, fstest.MapFS{
		"Kbuild":                         {},
		"include/linux/one.h":            {Data: []byte("int one;\n")},
		"arch/x86/include/asm/two.h":     {Data: []byte("int two;\n")},
		"include/generated/autoconf.h":   {Data: []byte("#define CONFIG_64BIT 1\n")},
		"include/generated/utsrelease.h": {Data: []byte("#define UTS_RELEASE \"6.12.1-toy\"\n")},
	}); err != nil {
		t.Fatal(err)
	}
	tree := fstest.MapFS{"build.mk": {Data: []byte(kbuild)}}
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: text}
	}
	for _, obj := range []string{"", "."} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, tree); err != nil {
			t.Fatal(err)
		}
		place := obj
		if obj == "" {
			place = dir
		}
		out, err := exec.Command("make", "-C", dir, "-f", "build.mk", "KERNEL="+kernel, "obj="+place, "src="+place, place+"/kheaders.h").CombinedOutput()
		if err != nil {
			t.Fatalf("obj=%s: %v; it printed:\n%s", place, err, out)
		}
		data, err := os.ReadFile(filepath.Join(dir, source.ArchiveName))
		if err != nil || !bytes.Contains(data, []byte("int one;")) || !bytes.Contains(data, []byte("int two;")) {
			t.Errorf("obj=%s: the archive (%v) has no headers", place, err)
		}
		header, err := os.ReadFile(filepath.Join(dir, "kheaders.h"))
		sum := sha256.Sum256(data)
		if err != nil || !bytes.Contains(header, []byte(`KHEADERS_RELEASE "6.12.1-toy"`)) || !bytes.Contains(header, []byte(hex.EncodeToString(sum[:]))) {
			t.Errorf("obj=%s: kheaders.h (%v) has not the release and the digest:\n%s", place, err, header)
		}
	}
}
