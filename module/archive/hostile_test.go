// SPDX-License-Identifier: BSD-3-Clause

package archive_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/kheaders/kheaders/module/archive"
)

// hostile returns archives that the reader must refuse.
func hostile(tb testing.TB) map[string][]byte {
	var many []tar.Header
	for i := range tight.Entries {
		many = append(many, tar.Header{Name: fmt.Sprintf("%d/", i)})
	}
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	var links []tar.Header
	for i := range tight.TarBytes / (10 << 10) {
		links = append(links, link(fmt.Sprintf("include/a%d.h", i), "a.h"))
	}
	good := toyArchive(tb)
	tarball := write(tb, toyTrees(kernel()), archive.Options{})
	damaged := func(at int) []byte {
		b := bytes.Clone(good)
		b[(at+len(b))%len(b)] ^= 0x10
		return b
	}
	return map[string][]byte{
		"empty":              nil,
		"zeros":              make([]byte, 4096),
		"no xz":              tarball,
		"gzip":               []byte("\x1f\x8b\x08 and so on, and so on, and so on"),
		"cut short":          good[:len(good)-1],
		"cut in half":        good[:len(good)/2],
		"header only":        good[:12],
		"footer only":        good[len(good)-12:],
		"header damaged":     damaged(7),
		"block damaged":      damaged(13),
		"data damaged":       damaged(100),
		"check damaged":      damaged(-12 - 8 - 3),
		"index damaged":      damaged(-12 - 2),
		"footer damaged":     damaged(-6),
		"text behind":        append(bytes.Clone(good), "and more"...),
		"no tar":             compress(tb, xz.WriterConfig{}, []byte(strings.Repeat("no tar ", 1000))),
		"tar cut":            compress(tb, xz.WriterConfig{}, tarball[:len(tarball)-2048]),
		"text behind tar":    compress(tb, xz.WriterConfig{}, append(bytes.Clone(tarball), "and more"...)),
		"no headers":         compress(tb, xz.WriterConfig{}, make([]byte, 1024)),
		"two architectures":  pack(tb, tar.Header{Name: "arch/um/"}, tar.Header{Name: "arch/um/include/"}),
		"up":                 pack(tb, tar.Header{Name: "../evil.h"}),
		"up inside":          pack(tb, tar.Header{Name: "./include/../../evil.h"}),
		"up as a directory":  pack(tb, tar.Header{Name: "./../"}),
		"absolute":           pack(tb, tar.Header{Name: "/evil.h"}),
		"dots":               pack(tb, tar.Header{Name: "././evil.h"}),
		"two slashes":        pack(tb, tar.Header{Name: "include//evil.h"}),
		"backslash":          pack(tb, tar.Header{Name: `include\evil.h`}),
		"symbolic link":      pack(tb, tar.Header{Name: "include/evil", Typeflag: tar.TypeSymlink, Linkname: "/etc"}),
		"link up":            pack(tb, link("include/evil.h", "../../evil.h")),
		"link to nowhere":    pack(tb, link("include/evil.h", "missing.h")),
		"link to directory":  pack(tb, link("include/evil.h", "generated")),
		"link to itself":     pack(tb, link("include/evil.h", "evil.h")),
		"links in a ring":    pack(tb, link("include/a.h", "b.h"), link("include/b.h", "a.h")),
		"below a link":       pack(tb, link("include/a", "generated"), tar.Header{Name: "include/a/b.h"}),
		"link and file":      pack(tb, link("include/a.h", "generated/autoconf.h"), tar.Header{Name: "include/a.h"}),
		"big links":          pack(tb, append(links, tar.Header{Name: "include/a.h", Size: 10 << 10})...),
		"hard link":          pack(tb, tar.Header{Name: "include/evil", Typeflag: tar.TypeLink, Linkname: "include/generated/autoconf.h"}),
		"device":             pack(tb, tar.Header{Name: "include/evil", Typeflag: tar.TypeChar}),
		"fifo":               pack(tb, tar.Header{Name: "include/evil", Typeflag: tar.TypeFifo}),
		"twice":              pack(tb, tar.Header{Name: "include/a.h"}, tar.Header{Name: "./include/a.h"}),
		"directory and file": pack(tb, tar.Header{Name: "include/a/"}, tar.Header{Name: "include/a"}),
		"file as directory":  pack(tb, tar.Header{Name: "include/a"}, tar.Header{Name: "include/a/b.h"}),
		"directory missing":  pack(tb, tar.Header{Name: "include/missing/b.h"}),
		"root is a file":     pack(tb, tar.Header{Name: ".", Typeflag: tar.TypeReg}),
		"many":               pack(tb, many...),
		"big file":           pack(tb, tar.Header{Name: "include/a.h", Size: 100 << 10}),
		"big dictionary":     bigDictionary(tb),
	}
}

// bigDictionary returns an archive with a block that asks for a dictionary of
// 32 MiB.
func bigDictionary(tb testing.TB) []byte {
	return compress(tb, xz.WriterConfig{DictCap: 32 << 20}, write(tb, toyTrees(kernel()), archive.Options{}))
}

// tight is just above what the toy kernel needs.
var tight = archive.Limits{ArchiveBytes: 20 << 10, TarBytes: 64 << 10, DictBytes: 8 << 20, Entries: 18}

func TestReadRefuses(t *testing.T) {
	if _, err := archive.Read(t.Context(), bytes.NewReader(toyArchive(t)), tight); err != nil {
		t.Errorf("a good archive: %v", err)
	}
	for name, data := range hostile(t) {
		info, err := archive.Read(t.Context(), bytes.NewReader(data), tight)
		_, limit := errors.AsType[*archive.LimitError](err)
		want := name == "many" || strings.HasPrefix(name, "big ")
		if err == nil || limit != want || errors.Is(err, archive.ErrFormat) == want {
			t.Errorf("%s: got error %v, want one of %v", name, err, map[bool]string{true: "limits", false: "the format"}[want])
		}
		if info != (archive.Info{}) {
			t.Errorf("%s: got %+v beside the error", name, info)
		}
	}
	long := append(bytes.Clone(toyArchive(t)), make([]byte, 20<<10)...)
	if _, err := archive.Read(t.Context(), bytes.NewReader(long), tight); !isLimit(err) {
		t.Errorf("too many bytes: got error %v", err)
	}
	if _, err := archive.Read(t.Context(), brokenReader{}, tight); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("unreadable: got error %v", err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, fs.ErrClosed }

func isLimit(err error) bool {
	_, ok := errors.AsType[*archive.LimitError](err)
	return ok
}

// TestReadEveryDamage flips a bit in each byte: the checks must notice them all.
func TestReadEveryDamage(t *testing.T) {
	good := toyArchive(t)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if _, err := archive.Read(t.Context(), bytes.NewReader(bad), tight); err == nil {
			t.Errorf("a bit of byte %d flipped: no error", i)
		}
	}
}
