// SPDX-License-Identifier: BSD-3-Clause

package target

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// exceptions are the places outside the table that may name an architecture, as
// patterns of path.Match for a path or its beginning.
var exceptions = map[string]string{
	"*.md":                            "what people read",
	"harness/target":                  "the table",
	"harness/internal/kernel/config":  "fragments are a part of the table, in kconfig's language",
	"harness/internal/qemu/ticks_*":   "Go chooses files by the names that it has for architectures",
	"*/*/testdata":                    "canned consoles, reports and files",
	"harness/internal/*/testdata":     "canned consoles, reports and files",
	"*/*example_test.go":              "what people read",
	"*/*/example_test.go":             "what people read",
	"harness/report/*_test.go":        "the run behind the canned reports",
	"tests/script":                    "what a user types and sees",
	"tests/fakelinux/arch":            "written from the table",
	"tests/fakelinux/scripts/arch.mk": "written from the table",
	"module/*/*_test.go":              "imports nothing of the harness, and has the directories of a kernel tree",
}

// others are architectures that are not in the table, and other names of those
// that are.
var others = []string{"x86-64", "i386", "i686", "ia32", "armhf", "riscv", "riscv64", "s390", "s390x", "ppc64", "ppc64le", "ppc64el", "powerpc", "mips", "mips64le", "loong64", "loongarch", "loongarch64"}

// names returns a pattern for the architectures' names and for words that
// belong to only one of them.
func names() *regexp.Regexp {
	words := slices.Clone(others)
	for _, a := range All() {
		words = append(words, a.Name, a.Uname, a.MakeArch, a.SrcArch, a.Debian, a.GOARCH, a.CPU, a.Console, a.Triplet())
	}
	// The longest alternative must come first.
	slices.SortFunc(words, func(a, b string) int { return len(b) - len(a) })
	for i := range words {
		words[i] = regexp.QuoteMeta(words[i])
	}
	return regexp.MustCompile(`(?i)(?:^|[^a-z0-9])(` + strings.Join(words, "|") + `)(?:[^a-z0-9]|$)`)
}

// excepted returns the pattern that allows a file to name architectures.
func excepted(name string) string {
	for pattern := range exceptions {
		for at := name; at != "."; at = path.Dir(at) {
			if ok, err := path.Match(pattern, at); err == nil && ok {
				return pattern
			}
		}
	}
	return ""
}

// TestSources checks that adding a record is enough to add an architecture: no
// source outside the table names one.
func TestSources(t *testing.T) {
	re, needed := names(), map[string]bool{}
	err := fs.WalkDir(os.DirFS("../.."), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".git" || name == "out" || name == "bin":
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if m := re.FindStringSubmatch(d.Name()); m != nil {
			if pattern := excepted(name); pattern != "" {
				needed[pattern] = true
			} else {
				t.Errorf("%s is named after %s", name, m[1])
			}
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile("../../" + name)
		if err != nil {
			return err
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			m := re.FindSubmatch(line)
			if m == nil {
				continue
			}
			if pattern := excepted(name); pattern != "" {
				needed[pattern] = true
				return nil
			}
			t.Errorf("%s:%d names %s: take it from the table", name, i+1, m[1])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pattern, reason := range exceptions {
		if !needed[pattern] {
			t.Errorf("nothing needs the exception for %s (%s)", pattern, reason)
		}
	}
}
