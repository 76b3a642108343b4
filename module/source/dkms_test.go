// SPDX-License-Identifier: BSD-3-Clause

package source_test

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
