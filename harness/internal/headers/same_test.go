// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// packedTrees are trees that both packers must turn into the same archive.
var packedTrees = []struct {
	name string
	edit func(t *testing.T, o *Options)
}{
	{"two trees", func(*testing.T, *Options) {}},
	{"no headers to speak of", func(t *testing.T, o *Options) {
		if err := os.RemoveAll(filepath.Join(o.Source, "include/linux")); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(o.Source, "include/linux/kconfig.h"), "")
	}},
	{"the corpus", func(t *testing.T, o *Options) {
		for i, text := range corpus(t) {
			put(t, fmt.Sprintf("%s/include/corpus/%d.h", o.Source, i), string(text))
		}
	}},
	{"built inside the source tree", func(t *testing.T, o *Options) {
		put(t, filepath.Join(o.Source, "include/generated/autoconf.h"), "#define A /**/ 1\n")
		o.Build = ""
	}},
	{"the same tree twice", func(t *testing.T, o *Options) {
		put(t, filepath.Join(o.Source, "include/generated/autoconf.h"), "#define A /**/ 1\n")
		o.Build = o.Source
	}},
	{"the object tree wins", func(t *testing.T, o *Options) {
		put(t, filepath.Join(o.Build, "include/linux/kconfig.h"), "#define ANOTHER\n")
		put(t, filepath.Join(o.Source, "include/generated/autoconf.h"), "stale\n")
	}},
	{"utsversion.h", func(t *testing.T, o *Options) {
		put(t, filepath.Join(o.Build, "include/generated/utsversion.h"), "#define UTS_VERSION\n")
		put(t, filepath.Join(o.Source, "include/generated/utsversion.h"), "#define UTS_VERSION\n")
		put(t, filepath.Join(o.Source, "include/other/utsversion.h"), "#define UTS_VERSION\n")
	}},
	{"order", func(t *testing.T, o *Options) {
		for _, name := range []string{
			"a.h", "a/b.h", "a-b.h", "a/b-c.h", "a/b/c.h", "a.b/c.h", "A.h", "a b.h", "a+.h", "a\x01/x.h", "a\x01.h", "ä.h", "a\xff.h",
			".h", ".hidden.h", ".hidden/x.h", "x.h/y.h", "H.H", "h", "a.hh",
		} {
			put(t, filepath.Join(o.Source, "include/order", name), "/* "+name+" */\n")
		}
	}},
	{"what editors leave", leaveEditorFiles},
	{"a file here, a directory there", func(t *testing.T, o *Options) {
		put(t, filepath.Join(o.Source, "include/x.h"), "a file\n")
		put(t, filepath.Join(o.Build, "include/x.h/y.h"), "a directory\n")
	}},
	{"long names", func(t *testing.T, o *Options) {
		for n := 60; n <= 330; n++ {
			put(t, filepath.Join(o.Source, "include", longName(n)), "x\n")
		}
		put(t, filepath.Join(o.Source, "include", strings.Repeat("d", 120), "x.h"), "x\n")
		put(t, filepath.Join(o.Source, "include", strings.Repeat("e", 200)+".h"), "x\n")
		put(t, filepath.Join(o.Source, "include/ä", strings.Repeat("ö", 60), "ü.h"), "x\n")
		put(t, filepath.Join(o.Source, "include/\xff\xfe.h"), "x\n")
		put(t, filepath.Join(o.Source, strings.Repeat("include/"+strings.Repeat("long/", 30), 10), "x.h"), "x\n")
	}},
	{"links", func(t *testing.T, o *Options) {
		put(t, filepath.Join(o.Source, "kernel/private.h"), "private\n")
		symlink(t, "linux/kconfig.h", filepath.Join(o.Source, "include/link.h"))
		symlink(t, "../kernel/private.h", filepath.Join(o.Source, "include/far.h"))
		symlink(t, "link.h", filepath.Join(o.Source, "include/chain.h"))
		symlink(t, filepath.Join(o.Source, "include/link.h"), filepath.Join(o.Build, "include/absolute.h"))
		symlink(t, filepath.Join(o.Source, "include/linux"), filepath.Join(o.Build, "include/other"))
		symlink(t, "./linux//../../include/./linux/", filepath.Join(o.Source, "include/crooked"))
		symlink(t, "/etc/passwd", filepath.Join(o.Source, "include/no-header"))
		symlink(t, "linux/kconfig.h/", filepath.Join(o.Source, "include/slash.h"))
		symlink(t, "linux/kconfig.h", filepath.Join(o.Source, "include/no-header-here"))
	}},
	{"links into another kernel tree", func(t *testing.T, o *Options) {
		neighbour(t, o, "another")
		symlink(t, filepath.Join(filepath.Dir(o.Source), "another", inArch), filepath.Join(o.Build, "include/other"))
		symlink(t, "a.h", filepath.Join(filepath.Dir(o.Source), "another/include/b.h"))
		symlink(t, "../../another/include/b.h", filepath.Join(o.Source, "include/b.h"))
	}},
	{"links into two other kernel trees", func(t *testing.T, o *Options) {
		neighbour(t, o, "another")
		neighbour(t, &Options{Source: filepath.Join(filepath.Dir(o.Source), "another/x")}, "inner")
		symlink(t, "../../another/inner/include/a.h", filepath.Join(o.Source, "include/b.h"))
		symlink(t, "../../another/include/a.h", filepath.Join(o.Source, "include/c.h"))
	}},
	{"include leads into another kernel tree", func(t *testing.T, o *Options) {
		neighbour(t, o, "another")
		if err := os.Rename(filepath.Join(o.Build, inArch), filepath.Join(o.Build, "../another/include/ours")); err != nil {
			t.Fatal(err)
		}
		symlink(t, "../../../another/include/ours", filepath.Join(o.Build, inArch))
	}},
	{"trees are links", func(t *testing.T, o *Options) {
		dir := filepath.Dir(o.Source)
		symlink(t, "../source", filepath.Join(dir, "lib/source"))
		symlink(t, o.Build, filepath.Join(dir, "lib/build"))
		o.Source, o.Build = filepath.Join(dir, "lib/source"), filepath.Join(dir, "lib/build")
	}},
	{"include is a link", func(t *testing.T, o *Options) {
		if err := os.Rename(filepath.Join(o.Build, "include"), filepath.Join(o.Build, "real")); err != nil {
			t.Fatal(err)
		}
		symlink(t, "real", filepath.Join(o.Build, "include"))
	}},
	{"object tree without arch", func(t *testing.T, o *Options) {
		if err := os.RemoveAll(filepath.Join(o.Build, "arch")); err != nil {
			t.Fatal(err)
		}
	}},
	{"relative names", func(t *testing.T, o *Options) {
		t.Chdir(filepath.Dir(o.Source))
		o.Source, o.Build = "source", "./build/"
	}},
	{"forty links", func(t *testing.T, o *Options) { chain(t, o, 40) }},
	{"a date", func(t *testing.T, _ *Options) { t.Setenv("SOURCE_DATE_EPOCH", "8589934591") }},
}

func testPackerWritesTheSameBytes(t *testing.T, program string) {
	for _, tt := range packedTrees {
		t.Run(tt.name, func(t *testing.T) {
			opts := smallTree(t)
			tt.edit(t, &opts)
			want, err := inGo(t, opts)
			if err != nil {
				t.Fatal(err)
			}
			got, err := inC(t, program, opts)
			if err != nil {
				t.Fatal(err)
			}
			compareTars(t, want, got)
		})
	}
}

// leaveEditorFiles makes files that count for no headers, or that nobody could
// read.
func leaveEditorFiles(t *testing.T, o *Options) {
	t.Helper()
	for _, dir := range []string{o.Source + "/include", o.Source + "/include/linux", o.Build + "/include/generated"} {
		symlink(t, "user@host.1234:1700000000", filepath.Join(dir, ".#sched.h"))
		symlink(t, "/etc", filepath.Join(dir, ".etc"))
		symlink(t, ".loop.h", filepath.Join(dir, ".loop.h"))
		symlink(t, "..", filepath.Join(dir, ".up"))
		for _, name := range []string{"._sched.h", ".h", ".hidden.h", ".cache/clangd/sched.h", ".sched.h.swp", "sched.h~", "#sched.h#", "sched.h.orig", "tags"} {
			put(t, filepath.Join(dir, name), "left\n")
		}
		if err := unix.Mkfifo(filepath.Join(dir, ".pipe.h"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// testPackerSkipsEditorFiles checks that they make no difference.
func testPackerSkipsEditorFiles(t *testing.T, program string) {
	opts := smallTree(t)
	want, err := inGo(t, opts)
	if err != nil {
		t.Fatal(err)
	}
	leaveEditorFiles(t, &opts)
	inBoth(t, program, opts, want)
}

// longName returns a header's name that is n bytes long.
func longName(n int) string {
	return strings.Repeat("directory/", (n-10)/10) + strings.Repeat("x", (n-10)%10+8) + ".h"
}

// chain creates a chain of n links.
func chain(t *testing.T, o *Options, n int) {
	t.Helper()
	dir := filepath.Join(o.Source, "links")
	put(t, filepath.Join(dir, "0"), "the end\n")
	for i := 1; i < n; i++ {
		symlink(t, strconv.Itoa(i-1), filepath.Join(dir, strconv.Itoa(i)))
	}
	symlink(t, "../links/"+strconv.Itoa(n-1), filepath.Join(o.Source, "include/chain.h"))
}

// compareTars reports where two tars differ.
func compareTars(t *testing.T, want, got []byte) {
	t.Helper()
	if bytes.Equal(want, got) {
		return
	}
	at := 0
	for at < min(len(want), len(got)) && want[at] == got[at] {
		at++
	}
	block := at &^ 511
	t.Errorf("%d bytes in C, %d in Go; they differ at byte %d (%d of its block):\nC  %q\nGo %q", len(got), len(want), at, at-block,
		got[block:min(len(got), block+512)], want[block:min(len(want), block+512)])
}
