// SPDX-License-Identifier: BSD-3-Clause

package archive_test

import (
	"errors"
	"io/fs"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kheaders/kheaders/module/archive"
)

// file and link make entries of a tree.
func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text), Mode: 0o600} }

func link(to string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
}

// kernel returns a source tree and an object tree of a toy kernel.
func kernel() fstest.MapFS {
	return fstest.MapFS{
		"src/Makefile":                            file("all:\n"),
		"src/include/linux/kconfig.h":             file("#define KCONFIG /* a comment */\n"),
		"src/include/linux/types.h":               file("typedef int t;\n\n"),
		"src/include/linux/Kbuild":                file("no header\n"),
		"src/include/linux.h":                     file("sorts after the directory\n"),
		"src/include/stale.h":                     file("source\n"),
		"src/include/none/README":                 file("a directory without headers\n"),
		"src/arch/x86/include/asm/page.h":         file("#define PAGE\n"),
		"src/arch/arm64/include/asm/page.h":       file("#define OTHER\n"),
		"src/arch/x86/kernel/private.h":           file("not below include\n"),
		"src/kernel/private.h":                    file("not below include\n"),
		"obj/include/generated/autoconf.h":        file("#define CONFIG_64BIT 1\n"),
		"obj/include/generated/utsrelease.h":      file("#define UTS_RELEASE \"6.12.1-toy\"\n"),
		"obj/include/generated/utsversion.h":      file("#define UTS_VERSION \"#1\"\n"),
		"obj/include/stale.h":                     file("object\n"),
		"obj/arch/x86/include/generated/asm/a.h":  file("#include <asm-generic/a.h>\n"),
		"obj/scripts/host.h":                      file("not below include\n"),
		"elsewhere/include/generated/autoconf.h":  file("\n"),
		"elsewhere/include/outside.h":             file("outside\n"),
		"elsewhere/arch/x86/include/asm/deeper.h": file("outside\n"),
	}
}

func toyTrees(fsys fs.FS) archive.Trees {
	return archive.Trees{FS: fsys, Source: "src", Build: "obj", SrcArch: "x86"}
}

// toyFiles is what Select should find in kernel.
var toyFiles = []archive.File{
	{Name: "arch/x86/include/asm/page.h", Path: "src/arch/x86/include/asm/page.h"},
	{Name: "arch/x86/include/generated/asm/a.h", Path: "obj/arch/x86/include/generated/asm/a.h"},
	{Name: "include/generated/autoconf.h", Path: "obj/include/generated/autoconf.h"},
	{Name: "include/generated/utsrelease.h", Path: "obj/include/generated/utsrelease.h"},
	{Name: "include/linux/kconfig.h", Path: "src/include/linux/kconfig.h"},
	{Name: "include/linux/types.h", Path: "src/include/linux/types.h"},
	{Name: "include/linux.h", Path: "src/include/linux.h"},
	{Name: "include/stale.h", Path: "obj/include/stale.h"},
}

// selections are pairs of trees, with how their files differ from toyFiles.
var selections = []struct {
	name string
	edit func(fstest.MapFS, *archive.Trees)
	want func(map[string]string)
}{
	{name: "two trees"},
	{
		name: "built inside the source tree",
		edit: func(m fstest.MapFS, t *archive.Trees) {
			for _, f := range toyFiles {
				m["in/"+f.Name] = m[f.Path]
			}
			t.Source, t.Build = "in", ""
		},
		want: func(w map[string]string) {
			for name := range w {
				w[name] = "in/" + name
			}
		},
	},
	{
		name: "trees are links",
		edit: func(m fstest.MapFS, t *archive.Trees) {
			m["lib/source"] = link("../src")
			m["lib/build"] = link("/elsewhere/../obj")
			t.Source, t.Build = "lib/source", "lib/build"
		},
	},
	{
		name: "links to files",
		edit: func(m fstest.MapFS, _ *archive.Trees) {
			m["src/include/link.h"] = link("linux/types.h")
			m["src/include/far.h"] = link("../kernel/private.h")
			m["src/include/chain.h"] = link("link.h")
			m["src/include/absolute.h"] = link("/src/include/link.h")
			m["src/include/no-header"] = link("../../elsewhere/include/outside.h")
		},
		want: func(w map[string]string) {
			w["include/link.h"] = "src/include/linux/types.h"
			w["include/far.h"] = "src/kernel/private.h"
			w["include/chain.h"] = "src/include/linux/types.h"
			w["include/absolute.h"] = "src/include/linux/types.h"
		},
	},
	{
		name: "links to directories of the other tree",
		edit: func(m fstest.MapFS, _ *archive.Trees) {
			m["obj/include/linux"] = link("../../src/include/linux")
			m["obj/arch/x86/include/asm"] = link("/src/arch/x86/include/asm")
		},
	},
	{
		name: "links into another kernel tree",
		edit: func(m fstest.MapFS, _ *archive.Trees) {
			m["elsewhere/Makefile"] = file("VERSION = 6\nPATCHLEVEL = 12\n")
			m["src/include/far.h"] = link("../../elsewhere/include/outside.h")
			m["obj/include/asm"] = link("/elsewhere/arch/x86/include/asm")
		},
		want: func(w map[string]string) {
			w["include/far.h"] = "elsewhere/include/outside.h"
			w["include/asm/deeper.h"] = "elsewhere/arch/x86/include/asm/deeper.h"
		},
	},
	{
		name: "names that start with a dot",
		edit: func(m fstest.MapFS, _ *archive.Trees) {
			m["src/include/linux/.#types.h"] = link("user@host.1:2")
			m["src/include/linux/._types.h"] = file("of a file manager\n")
			m["src/include/.cache/types.h"] = file("of an indexer\n")
		},
	},
	{
		name: "include itself is a link",
		edit: func(m fstest.MapFS, _ *archive.Trees) {
			for _, f := range []string{"autoconf.h", "utsrelease.h"} {
				m["obj/real/generated/"+f] = m["obj/include/generated/"+f]
			}
			m["obj/real/stale.h"] = m["obj/include/stale.h"]
			for name := range m {
				if len(name) > 12 && name[:12] == "obj/include/" {
					delete(m, name)
				}
			}
			m["obj/include"] = link("real")
		},
		want: func(w map[string]string) {
			w["include/generated/autoconf.h"] = "obj/real/generated/autoconf.h"
			w["include/generated/utsrelease.h"] = "obj/real/generated/utsrelease.h"
			w["include/stale.h"] = "obj/real/stale.h"
		},
	},
	{
		name: "object tree without arch",
		edit: func(m fstest.MapFS, _ *archive.Trees) { delete(m, "obj/arch/x86/include/generated/asm/a.h") },
		want: func(w map[string]string) { delete(w, "arch/x86/include/generated/asm/a.h") },
	},
}

func TestSelect(t *testing.T) {
	for _, tt := range selections {
		t.Run(tt.name, func(t *testing.T) {
			fsys, files := kernel(), map[string]string{}
			trees := toyTrees(fsys)
			for _, f := range toyFiles {
				files[f.Name] = f.Path
			}
			if tt.edit != nil {
				tt.edit(fsys, &trees)
			}
			if tt.want != nil {
				tt.want(files)
			}
			got, err := trees.Select()
			if err != nil {
				t.Fatal(err)
			}
			gotFiles := map[string]string{}
			for _, f := range got {
				gotFiles[f.Name] = f.Path
			}
			if diff := cmp.Diff(files, gotFiles); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestSelectOrder(t *testing.T) {
	got, err := toyTrees(kernel()).Select()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, toyFiles) {
		t.Errorf("got %v, want %v", got, toyFiles)
	}
}

// refusedTrees are pairs of trees that Select must refuse.
var refusedTrees = []struct {
	name string
	edit func(fstest.MapFS, *archive.Trees)
	path string // of a LinkError
	is   error
	text string
}{
	{
		name: "not prepared",
		edit: func(m fstest.MapFS, _ *archive.Trees) { delete(m, "obj/include/generated/autoconf.h") },
		text: "obj has no include/generated/autoconf.h",
	},
	{
		name: "prepared in the source tree only",
		edit: func(m fstest.MapFS, _ *archive.Trees) {
			m["src/include/generated/autoconf.h"] = m["obj/include/generated/autoconf.h"]
			delete(m, "obj/include/generated/autoconf.h")
		},
		text: "obj has no include/generated/autoconf.h",
	},
	{
		name: "link to nowhere",
		edit: func(m fstest.MapFS, _ *archive.Trees) { m["src/include/a.h"] = link("missing.h") },
		path: "src/include/a.h",
		is:   fs.ErrNotExist,
		text: "symbolic link src/include/a.h -> missing.h: lstat src/include/missing.h: file does not exist",
	},
	{
		name: "link outside",
		edit: func(m fstest.MapFS, _ *archive.Trees) {
			m["src/include/a.h"] = link("../../elsewhere/include/outside.h")
		},
		path: "src/include/a.h",
		is:   archive.ErrOutside,
		text: "symbolic link src/include/a.h -> ../../elsewhere/include/outside.h: leads outside the kernel trees",
	},
	{
		name: "link to a directory outside",
		edit: func(m fstest.MapFS, _ *archive.Trees) { m["obj/include/acpi"] = link("/elsewhere/include") },
		path: "obj/include/acpi",
		is:   archive.ErrOutside,
	},
	{
		name: "a neighbour whose name starts like ours",
		edit: func(m fstest.MapFS, _ *archive.Trees) {
			m["src2/a.h"] = file("x")
			m["src/include/a.h"] = link("/src2/a.h")
		},
		path: "src/include/a.h",
		is:   archive.ErrOutside,
	},
	{
		name: "another tree whose Makefile is no kernel's",
		edit: func(m fstest.MapFS, _ *archive.Trees) {
			m["elsewhere/Makefile"] = file("VERSION = 6\n")
			m["src/include/a.h"] = link("/elsewhere/include/outside.h")
		},
		path: "src/include/a.h",
		is:   archive.ErrOutside,
	},
	{
		name: "the root is a kernel tree, which is no tree of its own",
		edit: func(m fstest.MapFS, _ *archive.Trees) {
			m["Makefile"] = file("VERSION = 6\nPATCHLEVEL = 12\n")
			m["include/a.h"], m["arch/a.h"] = file("\n"), file("\n")
			m["src/include/a.h"] = link("/home/a.h")
			m["home/a.h"] = file("secret\n")
		},
		path: "src/include/a.h",
		is:   archive.ErrOutside,
	},
	{
		name: "link to itself",
		edit: func(m fstest.MapFS, _ *archive.Trees) { m["src/include/a.h"] = link("a.h") },
		path: "src/include/a.h",
		is:   archive.ErrLoop,
	},
	{
		name: "link to a directory that holds it",
		edit: func(m fstest.MapFS, _ *archive.Trees) { m["src/include/linux/up"] = link("..") },
		path: "src/include/linux/up",
		is:   archive.ErrLoop,
	},
	{
		name: "link through a file",
		edit: func(m fstest.MapFS, _ *archive.Trees) { m["src/include/a.h"] = link("linux/types.h/b.h") },
		path: "src/include/a.h",
	},
	{
		name: "include leads outside",
		edit: func(m fstest.MapFS, _ *archive.Trees) {
			delete(m, "src/arch/x86/include/asm/page.h")
			m["src/arch/x86/include"] = link("/elsewhere/include")
		},
		path: "src/arch/x86/include",
		is:   archive.ErrOutside,
	},
	{
		name: "no such architecture",
		edit: func(_ fstest.MapFS, t *archive.Trees) { t.SrcArch = "vax" },
		is:   fs.ErrNotExist,
		text: "finding src/arch/vax/include: lstat src/arch/vax: file does not exist",
	},
	{
		name: "no such tree",
		edit: func(_ fstest.MapFS, t *archive.Trees) { t.Build = "missing" },
		is:   fs.ErrNotExist,
		text: "finding the tree missing: lstat missing: file does not exist",
	},
	{
		name: "include is a file",
		edit: func(m fstest.MapFS, _ *archive.Trees) {
			delete(m, "obj/arch/x86/include/generated/asm/a.h")
			m["obj/arch/x86/include"] = file("")
		},
		text: "obj/arch/x86/include is not a directory",
	},
	{
		name: "a device",
		edit: func(m fstest.MapFS, _ *archive.Trees) {
			m["src/include/a.h"] = &fstest.MapFile{Mode: fs.ModeNamedPipe | 0o600}
		},
		text: "src/include/a.h is neither a file nor a directory",
	},
}

func TestSelectRefuses(t *testing.T) {
	for _, tt := range refusedTrees {
		t.Run(tt.name, func(t *testing.T) {
			fsys := kernel()
			trees := toyTrees(fsys)
			tt.edit(fsys, &trees)
			_, err := trees.Select()
			if err == nil {
				t.Fatal("no error")
			}
			if tt.text != "" && err.Error() != tt.text {
				t.Errorf("error %q, want %q", err, tt.text)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error %v is not %v", err, tt.is)
			}
			if e, ok := errors.AsType[*archive.LinkError](err); ok != (tt.path != "") || ok && e.Path != tt.path {
				t.Errorf("error %v, want it to name the link %q", err, tt.path)
			}
		})
	}
}
