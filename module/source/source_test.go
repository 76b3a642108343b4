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

var update = flag.Bool("update", false, "write the golden files")

// golden compares a text with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
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

func archive() source.Archive {
	return source.Archive{
		SHA256:  strings.Repeat("0123456789abcdef", 4),
		Size:    4347092,
		Release: "6.12.117+deb12-cloud-amd64",
		SrcArch: "x86",
	}
}

func TestRenderDescribesTheArchive(t *testing.T) {
	unknown := archive()
	unknown.Release, unknown.SrcArch = "", ""
	for name, a := range map[string]source.Archive{
		"release.golden.h":    archive(),
		"no-release.golden.h": unknown,
	} {
		t.Run(name, func(t *testing.T) {
			files, err := source.Render(a)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, files["kheaders.h"])
		})
	}
}

func TestRenderFiles(t *testing.T) {
	files, err := source.Render(archive())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Kbuild", "Makefile", "dkms.conf", "kheaders.h", "kheaders_data.S", "kheaders_main.c"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(files))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	// The Go constants must match the names in the sources.
	checkFiles(t, files, map[string][]string{
		"Kbuild":          {source.ModuleName + ".o", source.ArchiveName},
		"kheaders_data.S": {source.ArchiveName, source.StartSymbol + ":", source.EndSymbol + ":"},
		"kheaders_main.c": {source.SHA256Field, source.SizeField, source.ReleaseField},
	})
}

// checkFiles checks what holds for every file, and that certain files contain
// certain words.
func checkFiles(t *testing.T, files map[string][]byte, want map[string][]string) {
	t.Helper()
	for name, text := range files {
		first, _, _ := strings.Cut(string(text), "\n")
		if !strings.Contains(first, "SPDX-License-Identifier: GPL-2.0-only") {
			t.Errorf("%s starts with %q, which is not its licence", name, first)
		}
		if bytes.Contains(text, []byte("{{")) {
			t.Errorf("%s was not rendered", name)
		}
	}
	for name, words := range want {
		for _, word := range words {
			if !bytes.Contains(files[name], []byte(word)) {
				t.Errorf("%s has no %q", name, word)
			}
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*source.Archive)
		want   string
	}{
		"no digest":           {func(a *source.Archive) { a.SHA256 = "" }, "sha256"},
		"upper case digest":   {func(a *source.Archive) { a.SHA256 = strings.ToUpper(a.SHA256) }, "sha256"},
		"long digest":         {func(a *source.Archive) { a.SHA256 += "0" }, "sha256"},
		"empty archive":       {func(a *source.Archive) { a.Size = 0 }, "size"},
		"negative size":       {func(a *source.Archive) { a.Size = -1 }, "size"},
		"code in the release": {func(a *source.Archive) { a.Release = `6.12" "` }, "not a kernel release"},
		"two lines":           {func(a *source.Archive) { a.Release = "6.12\n" }, "not a kernel release"},
		"escape":              {func(a *source.Archive) { a.Release = `6.12\` }, "not a kernel release"},
		"long release":        {func(a *source.Archive) { a.Release = strings.Repeat("6", 64) }, "not a kernel release"},
		"code in the arch":    {func(a *source.Archive) { a.SrcArch = `x86" "` }, "not a directory of arch/"},
	} {
		t.Run(name, func(t *testing.T) {
			a := archive()
			test.change(&a)
			files, err := source.Render(a)
			if err == nil || files != nil {
				t.Fatalf("Render(%+v) = %d files, %v", a, len(files), err)
			}
			if text := err.Error(); !strings.Contains(text, test.want) || strings.Contains(text, "\n") {
				t.Errorf("error %q, want one line with %q", text, test.want)
			}
		})
	}
}
