// SPDX-License-Identifier: BSD-3-Clause

package kernel_test

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/kernel"
)

var editsFlag = flag.Int("edits", 8, "draw this many edits in TestEdits")

// smallKernel is a tree with the parts of kbuild that go by times: objects with
// the headers they include, in the order of a search path; a link that is repeated
// if the list of objects changes; and generated headers that keep their times if
// they come out the same, and that nothing removes.
var smallKernel = map[string]string{
	"Makefile": `VERSION = 6
PATCHLEVEL = 99
S := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
O ?= .
include $(S)/kernel/Makefile
objs := $(addprefix $(O)/kernel/,$(obj-y))
.DELETE_ON_ERROR:
.PHONY: FORCE tinyconfig olddefconfig prepare vmlinux modules
tinyconfig:
	@cp $(S)/Kconfig $(O)/.config; echo 'include $(S)/Makefile' > $(O)/Makefile
olddefconfig: ;
$(O)/include/config/auto.conf: FORCE
	@mkdir -p $(@D) $(O)/include/generated $(O)/kernel; cp $(O)/.config $@; echo 6.99.0-small > $(@D)/kernel.release
$(O)/include/generated/autoconf.h: $(O)/include/config/auto.conf FORCE
	@sed -n 's/^CONFIG_\(.*\)=.*/#define CONFIG_\1 1/p' $(O)/.config > $@.tmp; cmp -s $@.tmp $@ && rm $@.tmp || mv $@.tmp $@
prepare: $(O)/include/generated/autoconf.h
	@cd $(O)/include/generated && for name in $$(cat $(S)/kernel/names.txt); do \
		echo "made of $$name" > tmp; cmp -s tmp $$name.h && rm tmp || mv tmp $$name.h; done
-include $(wildcard $(O)/kernel/*.d)
$(O)/kernel/%.o: $(S)/kernel/%.c | prepare
	@sh $(S)/scripts/cc.sh $(S) $(O) $< $@
$(O)/objs: FORCE | prepare
	@echo $(obj-y) > $@.tmp; cmp -s $@.tmp $@ && rm $@.tmp || mv $@.tmp $@
$(O)/vmlinux: $(objs) $(O)/objs
	@cat $(objs) > $@
vmlinux: $(O)/vmlinux
modules: vmlinux
	@: > $(O)/Module.symvers
`,
	// The compiler puts what it includes in place, and lists it.
	"scripts/cc.sh": `S=$1 O=$2
expand() {
	sed -n 's/^#include "\(.*\)"$/\1/p' "$1" | while read -r name; do
		for dir in "${1%/*}" "$S"/arch/*/include "$S/include" "$O/include/generated" none; do
			[ ! -f "$dir/$name" ] || break
		done
		[ "$dir" != none ] || { echo "$1:1:1: fatal error: $name: No such file" >&2; exit 1; }
		echo "$dir/$name" >> "$4.deps"
		expand "$dir/$name" "$2" "$3" "$4" || exit 1
	done || return 1
	sed '/^#include/d' "$1"
}
rm -f "$4.deps"
: > "$4.deps"
expand "$3" "$1" "$2" "$4" > "$4" || exit 1
{ echo "$4: $3" $(cat "$4.deps"); sed 's/$/:/' "$4.deps"; } > "${4%.o}.d"
`,
	"Kbuild": "", "Kconfig": "CONFIG_SMALL=y\n", "arch/" + first.SrcArch + "/Makefile": "",
	"kernel/Makefile":   "obj-y := a.o b.o\n",
	"kernel/names.txt":  "one\ntwo\n",
	"kernel/a.c":        "#include \"a.h\"\n#include \"one.h\"\nint a;\n",
	"kernel/b.c":        "#include \"b.h\"\n#include \"autoconf.h\"\nint b;\n",
	"kernel/c.c":        "#include \"a.h\"\nint c;\n",
	"include/a.h":       "#include \"common.h\"\nheader a\n",
	"include/b.h":       "header b\n",
	"include/common.h":  "header common\n",
	"include/linux/x.h": "",
}

// editor edits a tree at random.
type editor struct {
	*rand.Rand
	t     *testing.T
	tree  string
	saved []map[string]savedFile // the commits
}

type savedFile struct {
	text string
	time time.Time
}

func (e *editor) path(name string) string { return filepath.Join(e.tree, name) }

func (e *editor) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// some returns a file that is there.
func (e *editor) some(names ...string) string {
	for {
		name := names[e.IntN(len(names))]
		if info, err := os.Stat(e.path(name)); err == nil && info.Mode().IsRegular() {
			return name
		}
	}
}

func (e *editor) source() string {
	return e.some("kernel/a.c", "kernel/b.c", "kernel/c.c", "include/a.h", "include/b.h", "include/common.h", "kernel/Makefile")
}

func (e *editor) put(name, text string) {
	e.t.Helper()
	e.must(os.MkdirAll(filepath.Dir(e.path(name)), 0o755))
	e.must(os.RemoveAll(e.path(name)))
	e.must(os.WriteFile(e.path(name), []byte(text), 0o644))
}

// all returns the tree's files.
func (e *editor) all() map[string]savedFile {
	found := map[string]savedFile{}
	e.must(fs.WalkDir(os.DirFS(e.tree), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := os.Stat(e.path(name))
		if err != nil {
			return nil // a link to nowhere
		}
		text, err := os.ReadFile(e.path(name))
		found[name] = savedFile{string(text), info.ModTime()}
		return err
	}))
	return found
}

// edit makes one edit and says which.
func (e *editor) edit(n int) string {
	long := time.Now().Add(-time.Hour)
	edits := []func() string{
		func() string { // content of the same size, as of old
			name := e.some("kernel/a.c", "kernel/b.c", "include/a.h", "include/b.h", "include/common.h")
			text, err := os.ReadFile(e.path(name))
			e.must(err)
			mark := fmt.Sprintf("%04d\n", n)
			if len(text) > len(mark) {
				text = append(text[:len(text)-len(mark)], mark...)
			}
			e.must(os.WriteFile(e.path(name), text, 0o644))
			e.must(os.Chtimes(e.path(name), long, long))
			return "same size, old time: " + name
		},
		func() string {
			name := e.some("kernel/a.c", "kernel/b.c", "include/a.h", "include/b.h", "include/common.h")
			text, err := os.ReadFile(e.path(name))
			e.must(err)
			e.put(name, fmt.Sprintf("%sline %04d\n", text, n))
			return "a line more: " + name
		},
		func() string {
			from, to := e.source(), fmt.Sprintf("include/moved%d.h", e.IntN(2))
			e.must(os.Rename(e.path(from), e.path(to)))
			return from + " becomes " + to
		},
		func() string {
			name := e.source()
			e.must(os.Remove(e.path(name)))
			return "deleted: " + name
		},
		func() string {
			one, other := e.some("include/a.h", "include/b.h", "include/common.h"), e.some("kernel/a.c", "kernel/b.c", "kernel/c.c", "include/linux/x.h")
			e.must(os.Rename(e.path(one), e.path("tmp")))
			e.must(os.Rename(e.path(other), e.path(one)))
			e.must(os.Rename(e.path("tmp"), e.path(other)))
			return "swapped: " + one + ", " + other
		},
		func() string {
			name := []string{"arch/" + first.SrcArch + "/include/common.h", "kernel/b.h", "arch/" + first.SrcArch + "/include/one.h"}[e.IntN(3)]
			if os.Remove(e.path(name)) == nil {
				return "found first no more: " + name
			}
			e.put(name, fmt.Sprintf("first %d\n", n))
			e.must(os.Chtimes(e.path(name), long, long))
			return "found first: " + name
		},
		func() string {
			name := []string{"include/b.h", "include/common.h"}[e.IntN(2)]
			e.must(os.RemoveAll(e.path(name)))
			e.must(os.Symlink("linux/x.h", e.path(name)))
			return "a link now: " + name
		},
		func() string {
			e.put("kernel/names.txt", []string{"one\n", "two\n", "one\ntwo\n", "one\nthree\n", "\n"}[e.IntN(5)])
			return "other generated headers"
		},
		func() string {
			e.put("kernel/Makefile", []string{"obj-y := a.o\n", "obj-y := a.o b.o\n", "obj-y := b.o a.o\n", "obj-y := c.o a.o b.o\n"}[e.IntN(4)])
			e.must(os.Chtimes(e.path("kernel/Makefile"), long, long))
			return "other objects"
		},
		func() string {
			e.put("Kconfig", []string{"CONFIG_SMALL=y\n", "CONFIG_SMALL=y\nCONFIG_MORE=y\n"}[e.IntN(2)])
			return "another configuration"
		},
		func() string { // and back to times of then
			i := e.IntN(len(e.saved))
			e.must(os.RemoveAll(e.tree))
			for name, file := range e.saved[i] {
				e.put(name, file.text)
				e.must(os.Chtimes(e.path(name), file.time, file.time))
			}
			return fmt.Sprintf("commit %d", i)
		},
	}
	return edits[e.IntN(len(edits))]()
}

// built returns what a build has made, or that it failed.
func built(t *testing.T, store cache.Store, tree string) string {
	t.Helper()
	k, err := kernel.Build(t.Context(), store, fetch(t, store, tree), kernel.BuildOptions{Target: first})
	if err != nil {
		return "failed"
	}
	text := read(t, filepath.Join(k.Dir, "vmlinux"))
	headers, err := filepath.Glob(filepath.Join(k.Dir, "include/generated/*.h"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range headers {
		text += "== " + filepath.Base(path) + "\n" + read(t, path)
	}
	return text
}

// TestEdits draws edits, some of which a build in the middle does not survive, and
// compares each result with that of a build from nothing.
func TestEdits(t *testing.T) {
	fakeTools(t)
	seed := uint64(time.Now().UnixNano())
	e := &editor{Rand: rand.New(rand.NewPCG(seed, 0)), t: t, tree: filepath.Join(t.TempDir(), "linux")}
	t.Logf("the seed is %d", seed)
	for name, text := range smallKernel {
		e.put(name, text)
	}
	e.saved = append(e.saved, e.all())
	store := cache.Store{Dir: t.TempDir()}
	if got := built(t, store, e.tree); !strings.Contains(got, "int b;") || !strings.Contains(got, "== two.h") {
		t.Fatalf("the first kernel is %q", got)
	}
	var history []string
	failures := 0
	for n := range *editsFlag {
		what := e.edit(n)
		if e.IntN(5) == 0 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(e.IntN(300))*time.Millisecond)
			if source, err := kernel.Fetch(ctx, store, parse(t, e.tree), nil); err == nil {
				_, _ = kernel.Build(ctx, store, source, kernel.BuildOptions{Target: first})
				source.Release()
			}
			cancel()
			what += ", interrupted"
		}
		history = append(history, what)
		fresh := built(t, cache.Store{Dir: t.TempDir()}, e.tree)
		if got := built(t, store, e.tree); got != fresh {
			t.Fatalf("after\n%s\nit is\n%s\nand from nothing\n%s", strings.Join(history[max(0, len(history)-12):], "\n"), got, fresh)
		}
		if fresh == "failed" {
			failures++
			if e.IntN(2) == 0 { // do not stay there
				for name, text := range smallKernel {
					e.put(name, text)
				}
			}
		} else if len(e.saved) < 5 {
			e.saved = append(e.saved, e.all())
		}
	}
	t.Logf("%d edits, %d of which do not build", len(history), failures)
}
