// SPDX-License-Identifier: BSD-3-Clause

package snapshot

import (
	"path/filepath"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/run"
)

// TestIgnored builds in a tree, inside and outside of a repository.
func TestIgnored(t *testing.T) {
	for _, how := range []string{"a repository", "no repository", "in another's", "in one that ignores it"} {
		t.Run(how, func(t *testing.T) {
			top := t.TempDir()
			tree := filepath.Join(top, "linux")
			writeTree(t, tree, map[string]string{
				"Makefile": "x", ".gitignore": "*.o\n.*\n/include/generated/\n!keep.o\n", "a/.gitignore": "/made\n",
				"a/one.c": "", "a/made": "", "a/one.o": "", "a/keep.o": "", "a/new.c": "", "include/x.h": "", "include/generated/x.h": "", ".config": "", "a/tracked.o": "",
			})
			git := func(dir string, args ...string) {
				t.Helper()
				if _, err := (run.Cmd{Argv: append([]string{"git", "-C", dir, "-c", "user.name=x", "-c", "user.email=x@x"}, args...)}).Output(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			switch how {
			case "a repository":
				git(tree, "init", "-q")
				git(tree, "add", "-f", "Makefile", "a/one.c", "a/tracked.o")
			case "in another's":
				git(top, "init", "-q")
			case "in one that ignores it":
				git(top, "init", "-q")
				writeTree(t, top, map[string]string{".gitignore": "/linux\n"})
			}
			skip, err := Ignored(t.Context(), tree)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]bool{
				"Makefile": false, "a/one.c": false, "a/new.c": false, "a/keep.o": false, "a": false, "include": false,
				"a/one.o": true, "a/made": true, "include/generated": true, ".config": true, "a/tracked.o": how != "a repository",
			} {
				if got := skip(name); got != want {
					t.Errorf("%s is ignored: %v", name, got)
				}
			}
		})
	}
}
