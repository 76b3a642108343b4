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
