// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/module/archive"
)

func TestInspectAndExtract(t *testing.T) {
	opts := smallTree(t)
	opts.Compressor = "go"
	result, err := packed(t, opts)
	if err != nil {
		t.Fatal(err)
	}
	info, err := Inspect(t.Context(), opts.Output)
	if err != nil {
		t.Fatal(err)
	}
	if info.Arch != arch.Name || info.Release != "6.12.1-toy" || info.SHA256 != result.SHA256 || info.Files != result.Files || info.Path != opts.Output {
		t.Errorf("got %+v", info)
	}
	text, err := json.Marshal(info)
	if err != nil || !strings.Contains(string(text), `"arch":"`+arch.Name+`","release":"6.12.1-toy"`) {
		t.Errorf("as JSON: %s (%v)", text, err)
	}
	dir := filepath.Join(t.TempDir(), "out")
	extracted, err := Extract(t.Context(), opts.Output, dir)
	if err != nil || extracted != info {
		t.Errorf("extracting: %+v (%v)", extracted, err)
	}
	page, err := os.ReadFile(filepath.Join(dir, inArch, "asm/page.h"))
	if err != nil || string(page) != "#define PAGE 1\n" {
		t.Errorf("extracted %q (%v)", page, err)
	}
}

// TestExplainExtract covers a file system without case as well, which is not at
// hand: there, the second of two such files exists already.
func TestExplainExtract(t *testing.T) {
	exists := &fs.PathError{Op: "openat", Path: "xt_DSCP.h", Err: fs.ErrExist}
	for _, tt := range []struct {
		occupied bool
		err      error
		want     string
	}{
		{false, fmt.Errorf("unpacking include/xt_DSCP.h: %w", exists), "differ in case only"},
		{true, fmt.Errorf("out is not empty: %w", fs.ErrExist), "new or empty"},
		{false, fs.ErrPermission, "may write to"},
		{false, archive.ErrFormat, "get the archive again"},
	} {
		err := explainExtract("kheaders.tar.xz", "out", tt.occupied, tt.err)
		if !hint.IsUsage(err) || !errors.Is(err, tt.err) || !strings.Contains(hint.Of(err), tt.want) {
			t.Errorf("%v: %v, with the hint %q", tt.err, err, hint.Of(err))
		}
	}
}

func TestArchName(t *testing.T) {
	for _, tt := range []struct {
		srcArch string
		bits    int
		want    string
	}{
		{arch.SrcArch, 64, arch.Name},
		{arch.SrcArch, 32, arch.SrcArch},
		{other.SrcArch, 64, other.Name},
		{"vax", 64, "vax"},
	} {
		if got := archName(archive.Info{SrcArch: tt.srcArch, Bits: tt.bits}); got != tt.want {
			t.Errorf("%s with %d bits: got %s, want %s", tt.srcArch, tt.bits, got, tt.want)
		}
	}
}

func TestInspectAndExtractRefuse(t *testing.T) {
	opts := smallTree(t)
	opts.Compressor = "go"
	if _, err := packed(t, opts); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(opts.Output)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put(t, filepath.Join(dir, "short.xz"), string(good[:len(good)/2]))
	put(t, filepath.Join(dir, "text"), "no archive, but some text that is long enough\n")
	put(t, filepath.Join(dir, "full", "file"), "")
	const again = "get the archive again, or make a new one with kheaders archive"
	for _, tt := range []struct{ name, file, dir, error, hint string }{
		{"missing", "missing", "new", "opening the archive: open DIR/missing: no such file or directory", "name an archive, as kheaders archive makes them"},
		{"cut", "short.xz", "new", "DIR/short.xz: not a valid headers archive: the end of the xz stream is missing", again},
		{"text", "text", "new", "DIR/text: not a valid headers archive: it is not compressed with xz", again},
		{"full directory", "", "full", "extracting to DIR/full: full is not empty: file already exists", "name a directory that is new or empty"},
		{"no directory above", "", "a/b", "extracting to DIR/a/b: open DIR/a: no such file or directory", "create the directory above it first"},
	} {
		file := filepath.Join(dir, tt.file)
		if tt.file == "" {
			file = opts.Output
		}
		_, err := Extract(t.Context(), file, filepath.Join(dir, tt.dir))
		check := func() {
			t.Helper()
			if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != tt.error || hint.Of(err) != tt.hint || !hint.IsUsage(err) {
				t.Errorf("%s: got error %v (hint %q), want %s (%q)", tt.name, err, hint.Of(err), tt.error, tt.hint)
			}
		}
		check()
		if tt.file != "" {
			_, err = Inspect(t.Context(), file)
			check()
		}
		if _, err := os.Lstat(filepath.Join(dir, "new")); err == nil {
			t.Errorf("%s: left something", tt.name)
		}
	}
}
