// SPDX-License-Identifier: BSD-3-Clause

package source_test

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"os/exec"
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
		"no number":           {func(a *source.Archive) { a.Release = "x6.12" }, "not a kernel release"},
		"an option":           {func(a *source.Archive) { a.Release = "-f" }, "not a kernel release"},
		"a directory":         {func(a *source.Archive) { a.Release = ".." }, "not a kernel release"},
		"another directory":   {func(a *source.Archive) { a.Release = "6.12/../x" }, "not a kernel release"},
		"an option for arch":  {func(a *source.Archive) { a.SrcArch = "-x" }, "not a directory of arch/"},
		"a number for arch":   {func(a *source.Archive) { a.SrcArch = "86" }, "not a directory of arch/"},
		"long arch":           {func(a *source.Archive) { a.SrcArch = strings.Repeat("x", 64) }, "not a directory of arch/"},
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

// TestRenderRefusesCharacters goes through the characters that C, make, a regular
// expression or a shell could take for something.
func TestRenderRefusesCharacters(t *testing.T) {
	const harmless = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._+~-"
	for c := range 0x180 {
		text := string(rune(c))
		a := archive()
		a.Release = "6.12" + text + "x"
		if _, err := source.Render(a); (err == nil) != strings.Contains(harmless, text) {
			t.Errorf("release %q: error %v", a.Release, err)
		}
		a = archive()
		a.SrcArch = "x" + text + "6"
		if _, err := source.Render(a); (err == nil) != strings.Contains(harmless[:36]+"_", text) {
			t.Errorf("arch %q: error %v", a.SrcArch, err)
		}
	}
	for _, xz := range [][]string{nil, {""}, {"xz", "$(shell id)"}, {"xz", "a b"}, {"xz", "x;id"}, {"xz\n"}, {"x'"}, {"#"}} {
		if files, err := source.DKMS(xz); err == nil || files != nil {
			t.Errorf("DKMS(%q) = %d files, %v", xz, len(files), err)
		}
		if patch, err := source.InTree(kernelTree(), xz); err == nil || patch != nil {
			t.Errorf("InTree(%q) = %d bytes, %v", xz, len(patch), err)
		}
	}
}

// TestRenderKeepsTheRelease reads a release with everything that one may have the
// way that dkms and make read it.
func TestRenderKeepsTheRelease(t *testing.T) {
	a := archive()
	a.Release = "6.12~rc1_a+B-c.d"
	files, err := source.Render(a)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, argv := range [][]string{
		{"bash", "-c", `. ./dkms.conf && [[ '` + a.Release + `' =~ $BUILD_EXCLUSIVE_KERNEL && ! 6x12~rc1_a+B-c.d =~ $BUILD_EXCLUSIVE_KERNEL ]] && echo "${PACKAGE_VERSION#1.0+}"`},
		{"make", "-s", "-f", "Kbuild", "src=.", "obj=.", "KERNELRELEASE=" + a.Release, "SRCARCH=x86", "--eval=all: ; @echo $(release)", "all"},
	} {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != a.Release+"\n" {
			t.Errorf("%q: %v; it printed %q", argv, err, out)
		}
	}
}
