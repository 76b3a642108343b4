// SPDX-License-Identifier: BSD-3-Clause

package archive_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"

	"github.com/kheaders/kheaders/module/archive"
)

// toyArchive returns the archive of the toy kernel.
func toyArchive(tb testing.TB) []byte {
	tb.Helper()
	return write(tb, toyTrees(kernel()), archive.Options{ModTime: stamp, Compress: archive.NewXZWriter})
}

// compress makes an .xz file.
func compress(tb testing.TB, config xz.WriterConfig, data []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := config.NewWriter(&b)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// pack makes an archive of the entries that every archive needs, followed by
// the given ones.
func pack(tb testing.TB, entries ...tar.Header) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	needed := []tar.Header{
		{Name: "./"},
		{Name: "./arch/"},
		{Name: "./arch/x86/"},
		{Name: "./arch/x86/include/"},
		{Name: "./include/"},
		{Name: "./include/generated/"},
		{Name: "./include/generated/autoconf.h"},
	}
	for _, h := range append(needed, entries...) {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
			if strings.HasSuffix(h.Name, "/") {
				h.Typeflag = tar.TypeDir
			}
		}
		if err := w.WriteHeader(&h); err != nil {
			tb.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return compress(tb, xz.WriterConfig{}, b.Bytes())
}

func TestRead(t *testing.T) {
	data := toyArchive(t)
	got, err := archive.Read(t.Context(), bytes.NewReader(data), archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(data)
	want := archive.Info{
		Release: "6.12.1-toy", SrcArch: "x86", Bits: 64,
		Files: 8, Dirs: 10,
		HeaderBytes: got.HeaderBytes, TarBytes: got.TarBytes,
		ModTime: stamp.UTC().Truncate(time.Second),
		Size:    int64(len(data)), SHA256: hex.EncodeToString(digest[:]),
		Compression: archive.Compression{Check: "crc64", Streams: 1, Blocks: 1, DictBytes: 8 << 20, LZMA: "lc=4,lp=0,pb=0"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	text := 0
	for line := range strings.Lines(toyList) {
		if line[0] == '0' {
			var s string
			if _, err := fmt.Sscanf(line[strings.Index(line, `"`):], "%q", &s); err != nil {
				t.Fatal(err)
			}
			text += len(s)
		}
	}
	if got.HeaderBytes != int64(text) || got.TarBytes%512 != 0 || got.TarBytes < got.HeaderBytes {
		t.Errorf("%d bytes of headers, want %d, in a tar of %d", got.HeaderBytes, text, got.TarBytes)
	}
}

// TestReadOfOthers reads archives that the xz program made of the toy kernel's
// tar with various options.
func TestReadOfOthers(t *testing.T) {
	paths, err := filepath.Glob("testdata/xz/*.tar.xz")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no archives in testdata/xz: %v", err)
	}
	want := map[string]archive.Compression{
		"threads.tar.xz": {Check: "crc64", Streams: 1, Blocks: 5, DictBytes: 8 << 20, LZMA: "lc=4,lp=0,pb=0"},
		"single.tar.xz":  {Check: "crc32", Streams: 1, Blocks: 1, DictBytes: 256 << 10, LZMA: "lc=3,lp=0,pb=2"},
		"streams.tar.xz": {Check: "sha256", Streams: 2, Blocks: 2, DictBytes: 8 << 20, LZMA: "lc=3,lp=0,pb=2"},
		"none.tar.xz":    {Check: "none", Streams: 1, Blocks: 1, DictBytes: 8 << 20, LZMA: "lc=3,lp=0,pb=2"},
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := archive.Read(t.Context(), bytes.NewReader(data), archive.Limits{})
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		if diff := cmp.Diff(want[filepath.Base(p)], got.Compression); diff != "" {
			t.Errorf("%s: -want +got:\n%s", p, diff)
		}
		if got.Release != "6.12.1-toy" || got.Files != 8 {
			t.Errorf("%s: got %+v", p, got)
		}
	}
	if len(paths) != len(want) {
		t.Errorf("%d archives, want %d", len(paths), len(want))
	}
}

func TestWalk(t *testing.T) {
	var b strings.Builder
	_, err := archive.Walk(t.Context(), bytes.NewReader(toyArchive(t)), archive.Limits{}, func(e archive.Entry, r io.Reader) error {
		if e.Name == "include/linux/types.h" {
			return nil // unread
		}
		text, err := io.ReadAll(r)
		fmt.Fprintf(&b, "%s %v %d %q\n", e.Name, e.Dir, e.Size, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		". true 0 \"\"\n",
		"include/linux true 0 \"\"\n",
		"include/generated/autoconf.h false 23 \"#define CONFIG_64BIT 1\\n\"\n",
		"include/stale.h false 7 \"object\\n\"\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing:\n%s", want, b.String())
		}
	}
	cause := errors.New("enough")
	_, err = archive.Walk(t.Context(), bytes.NewReader(toyArchive(t)), archive.Limits{}, func(archive.Entry, io.Reader) error { return cause })
	if !errors.Is(err, cause) {
		t.Errorf("got error %v, want the visitor's", err)
	}
}

func TestExtract(t *testing.T) {
	data := toyArchive(t)
	for _, before := range []string{"missing", "empty"} {
		parent := t.TempDir()
		root := openRoot(t, parent)
		if before == "empty" {
			if err := os.Mkdir(filepath.Join(parent, "out"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		info, err := archive.Extract(t.Context(), bytes.NewReader(data), root, "out", archive.Limits{})
		if err != nil {
			t.Fatalf("%s: %v", before, err)
		}
		if info.Files != 8 {
			t.Errorf("%s: got %+v", before, info)
		}
		if names := names(t, parent); len(names) != 1 {
			t.Errorf("%s: left %v", before, names)
		}
		// Packing it again gives the same bytes.
		trees := archive.Trees{FS: os.DirFS(parent), Source: "out", SrcArch: "x86"}
		if again := write(t, trees, archive.Options{ModTime: stamp, Compress: archive.NewXZWriter}); !bytes.Equal(again, data) {
			t.Errorf("%s: what was extracted is not what was packed", before)
		}
	}
}

// TestExtractLinks unpacks an archive with links, as the kernel's own generator
// makes them.
func TestExtractLinks(t *testing.T) {
	data := pack(t,
		tar.Header{Name: "./include/dt-bindings/"},
		tar.Header{Name: "./include/dt-bindings/codes.h", Typeflag: tar.TypeSymlink, Linkname: "../uapi/codes.h"},
		tar.Header{Name: "./include/dt-bindings/more.h", Typeflag: tar.TypeSymlink, Linkname: "codes.h"},
		tar.Header{Name: "./include/uapi/"},
		tar.Header{Name: "./include/uapi/codes.h", Size: 5},
	)
	var seen []string
	info, err := archive.Walk(t.Context(), bytes.NewReader(data), archive.Limits{}, func(e archive.Entry, _ io.Reader) error {
		if e.Link != "" {
			seen = append(seen, e.Name+" -> "+e.Link)
		}
		return nil
	})
	want := []string{"include/dt-bindings/codes.h -> include/uapi/codes.h", "include/dt-bindings/more.h -> include/dt-bindings/codes.h"}
	if err != nil || info.Links != 2 || info.Files != 2 || !slices.Equal(seen, want) {
		t.Errorf("%+v, error %v, links %v, want %v", info, err, seen, want)
	}
	parent := t.TempDir()
	if _, err := archive.Extract(t.Context(), bytes.NewReader(data), openRoot(t, parent), "out", archive.Limits{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dt-bindings/codes.h", "dt-bindings/more.h", "uapi/codes.h"} {
		path := filepath.Join(parent, "out/include", name)
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != 0o644 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != "xxxxx" {
			t.Errorf("%s holds %q, %v", name, text, err)
		}
	}
}

func TestExtractRefuses(t *testing.T) {
	good := toyArchive(t)
	for _, tt := range []struct{ name, dir, want string }{
		{"a full directory", "full", "full is not empty: file already exists"},
		{"a file", "file", "file is not a directory: file already exists"},
		{"a link to a directory", "link", "link is not a directory: file already exists"},
		{"a path", "a/b", `"a/b" is not the name of a directory`},
		{"no name", "", `"" is not the name of a directory`},
		{"the parent", ".", `"." is not the name of a directory`},
		{"up", "..", `".." is not the name of a directory`},
	} {
		parent := t.TempDir()
		for _, err := range []error{
			os.MkdirAll(filepath.Join(parent, "full", "x"), 0o755),
			os.Mkdir(filepath.Join(parent, "empty"), 0o755),
			os.WriteFile(filepath.Join(parent, "file"), nil, 0o644),
			os.Symlink("empty", filepath.Join(parent, "link")),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		before := names(t, parent)
		_, err := archive.Extract(t.Context(), bytes.NewReader(good), openRoot(t, parent), tt.dir, archive.Limits{})
		if fmt.Sprint(err) != tt.want {
			t.Errorf("%s: got error %v, want %s", tt.name, err, tt.want)
		}
		if diff := cmp.Diff(before, names(t, parent)); diff != "" {
			t.Errorf("%s: -before +after:\n%s", tt.name, diff)
		}
	}
}

func TestExtractLeavesNothingOfBadArchives(t *testing.T) {
	for name, data := range hostile(t) {
		parent := t.TempDir()
		if _, err := archive.Extract(t.Context(), bytes.NewReader(data), openRoot(t, parent), "out", tight); err == nil {
			t.Errorf("%s: no error", name)
		}
		if left := names(t, parent); len(left) != 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// FuzzRead looks for archives that make the reader panic, hang or accept
// something invalid.
func FuzzRead(f *testing.F) {
	f.Add(toyArchive(f))
	for _, data := range hostile(f) {
		f.Add(data)
	}
	paths, err := filepath.Glob("testdata/xz/*.tar.xz")
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		seen := map[string]bool{}
		total := int64(0)
		info, err := archive.Walk(t.Context(), bytes.NewReader(data), tight, func(e archive.Entry, r io.Reader) error {
			if !fs.ValidPath(e.Name) || seen[e.Name] && e.Name != "." {
				t.Errorf("bad name %q", e.Name)
			}
			seen[e.Name] = true
			n, err := io.Copy(io.Discard, r)
			if total += n; err == nil && n != e.Size || total > tight.TarBytes {
				t.Errorf("%s: %d bytes, want %d; %d in all", e.Name, n, e.Size, total)
			}
			return err
		})
		if err != nil {
			if !errors.Is(err, archive.ErrFormat) && !isLimit(err) {
				t.Errorf("an error without its class: %v", err)
			}
			return
		}
		if info.Files+info.Dirs < len(seen) || info.TarBytes > tight.TarBytes || info.SrcArch == "" {
			t.Errorf("got %+v of %d entries", info, len(seen))
		}
	})
}
