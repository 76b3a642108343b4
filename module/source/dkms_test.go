// SPDX-License-Identifier: BSD-3-Clause

package source_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kheaders/kheaders/module/source"
)

func TestDKMS(t *testing.T) {
	files, err := source.DKMS([]string{"xz", "--stdout", "--lzma2=preset=6,lc=4"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Kbuild", "Makefile", "dkms.conf", "kheaders.h.in", "kheaders_data.S", "kheaders_main.c", "kheaders_pack.c"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(files))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	golden(t, "dkms.golden.conf", files["dkms.conf"])
	checkFiles(t, files, map[string][]string{
		"Kbuild":        {source.ModuleName + ".o", source.ArchiveName, source.PackerName, "xz --stdout --lzma2=preset=6,lc=4 <"},
		"kheaders.h.in": {`"@SHA256@"`, " @SIZE@\n", `"@RELEASE@"`, `"` + source.Version + `"`},
	})
}

// TestRenderForDKMS checks that dkms.conf names the one kernel that an archive
// is for.
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

// kbuild defines what a kernel's build defines for the Kbuild of the DKMS tree.
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

// TestDKMSBuild packs and describes the headers the way a kernel's build does:
// up to Linux 6.12 the module's directory is an absolute path, later it is the
// working directory.
func TestDKMSBuild(t *testing.T) {
	files, err := source.DKMS([]string{"cat"}) // no compression
	if err != nil {
		t.Fatal(err)
	}
	usr := t.TempDir()
	link := func(to string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink} }
	one, two := &fstest.MapFile{Data: []byte("int one;\n")}, &fstest.MapFile{Data: []byte("int two;\n")}
	config, release := &fstest.MapFile{Data: []byte("#define CONFIG_64BIT 1\n")}, &fstest.MapFile{Data: []byte("#define UTS_RELEASE \"6.12.1-toy\"\n")}
	if err := os.CopyFS(usr, fstest.MapFS{
		// All in one directory.
		"whole/Kbuild":                         {},
		"whole/include/linux/one.h":            one,
		"whole/arch/x86/include/asm/two.h":     two,
		"whole/include/generated/autoconf.h":   config,
		"whole/include/generated/utsrelease.h": release,
		// Ubuntu's, which is both trees to kbuild.
		"common/Kbuild":                          {},
		"common/Makefile":                        {Data: []byte("VERSION = 6\nPATCHLEVEL = 12\n")},
		"common/include/linux/one.h":             one,
		"common/arch/x86/include/asm/two.h":      two,
		"flavour/Kbuild":                         link("../common/Kbuild"),
		"flavour/Makefile":                       link("../common/Makefile"),
		"flavour/include/linux":                  link("../../common/include/linux"),
		"flavour/include/generated/autoconf.h":   config,
		"flavour/include/generated/utsrelease.h": release,
		"flavour/arch/x86/include/asm":           link("../../../../common/arch/x86/include/asm"),
		"flavour/arch/x86/include/generated/a.h": {},
	}); err != nil {
		t.Fatal(err)
	}
	tree := fstest.MapFS{"build.mk": {Data: []byte(kbuild)}}
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: text}
	}
	for obj, kernel := range map[string]string{"": filepath.Join(usr, "whole"), ".": filepath.Join(usr, "flavour")} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, tree); err != nil {
			t.Fatal(err)
		}
		place := obj
		if obj == "" {
			place = dir
		}
		checkPacked(t, dir, func() string {
			out, err := exec.Command("make", "-C", dir, "-f", "build.mk", "KERNEL="+kernel, "obj="+place, "src="+place, place+"/kheaders.h").CombinedOutput()
			if err != nil {
				t.Fatalf("obj=%s: %v; it printed:\n%s", place, err, out)
			}
			return string(out)
		})
	}
}

// checkPacked checks the archive and kheaders.h that a build makes in dir.
func checkPacked(t *testing.T, dir string, build func() (output string)) {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", "")
	t.Setenv("KBUILD_BUILD_TIMESTAMP", "")
	t.Setenv("TZ", "America/New_York")
	build()
	archive := filepath.Join(dir, source.ArchiveName)
	data, err := os.ReadFile(archive)
	if err != nil || !bytes.Contains(data, []byte("int one;")) || !bytes.Contains(data, []byte("int two;")) {
		t.Errorf("%s (%v) has no headers", archive, err)
	}
	header, err := os.ReadFile(filepath.Join(dir, "kheaders.h"))
	if err != nil || !bytes.Contains(header, []byte(`KHEADERS_RELEASE "6.12.1-toy"`)) || !bytes.Contains(header, fmt.Appendf(nil, "%x", sha256.Sum256(data))) {
		t.Errorf("kheaders.h (%v) has not the release and the digest:\n%s", err, header)
	}
	// An invalid date must not stop a kernel's build.
	for _, tt := range []struct {
		epoch, kbuild, want string
		warns               bool
	}{
		{"", "", "1980-01-01T00:00:00Z", false},
		{"", "Sat Nov 28 12:00:00 CET 2026", "2026-11-28T11:00:00Z", false},
		{"", "2001-02-03 04:05:06", "2001-02-03T04:05:06Z", false},
		{"5", "Sat Nov 28 12:00:00 CET 2026", "1970-01-01T00:00:05Z", false},
		{"", `it's "no date", $HOME`, "1980-01-01T00:00:00Z", true},
		{"", "1969-12-31", "1980-01-01T00:00:00Z", true},
	} {
		t.Setenv("SOURCE_DATE_EPOCH", tt.epoch)
		t.Setenv("KBUILD_BUILD_TIMESTAMP", tt.kbuild)
		// make prints its recipes too, so look at the start of a line.
		warning := strings.Contains(build(), "\nwarning: date -d cannot read KBUILD_BUILD_TIMESTAMP")
		if got := date(t, archive); got != tt.want || warning != tt.warns {
			t.Errorf("%s is of %s, with a warning: %v; want %+v", archive, got, warning, tt)
		}
	}
}

// date returns the date of a tar's first entry.
func date(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it is only read
	header, err := tar.NewReader(f).Next()
	if err != nil {
		t.Fatal(err)
	}
	return header.ModTime.UTC().Format(time.RFC3339)
}
