// SPDX-License-Identifier: BSD-3-Clause

package kernel_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/doctor"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

func TestFetchTarball(t *testing.T) {
	tree := fakeTree(t)
	for _, name := range []string{"a.tar", "a.tar.gz", "a.tgz", "a.tar.xz", "a.txz", "a.tar.bz2", "a.tbz2", "a.tar.zst", "a.tar.lz4"} {
		for _, prefix := range []string{"", "linux-6.99/"} {
			t.Run(prefix+name, func(t *testing.T) {
				store := cache.Store{Dir: t.TempDir()}
				file := tarball(t, tree, prefix, filepath.Join(t.TempDir(), name))
				source := fetch(t, store, file)
				sameTree(t, source.Dir, tree)
				if source.Version != fakeVersion {
					t.Errorf("the version is %q", source.Version)
				}

				// The same content is unpacked once, whatever
				// the file is called.
				other := filepath.Join(filepath.Dir(file), "other-"+name)
				if err := os.Rename(file, other); err != nil {
					t.Fatal(err)
				}
				t.Setenv("PATH", "")
				if again := fetch(t, store, other); again.Dir != source.Dir || again.Key != source.Key {
					t.Errorf("the source was %+v and is %+v", source, again)
				}
			})
		}
	}
}

// TestFetchTarballByContent gives tarballs names that say something else.
func TestFetchTarballByContent(t *testing.T) {
	tree := fakeTree(t)
	names := []string{"a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2", "a.tar.zst"}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			file := tarball(t, tree, "linux/", filepath.Join(t.TempDir(), name))
			for _, other := range append([]string{"linux-6.99", "linux.tar.gz (1)", "linux.zip"}, names...) {
				path := filepath.Join(t.TempDir(), other)
				if err := os.Link(file, path); err != nil {
					t.Fatal(err)
				}
				sameTree(t, fetch(t, cache.Store{Dir: t.TempDir()}, path).Dir, tree)
			}
		})
	}
}

// TestFetchTarballTop has a kernel tree at several places of a tarball.
func TestFetchTarballTop(t *testing.T) {
	for _, tt := range []struct {
		at    string
		other []string
		err   string
	}{
		{at: "."},
		{at: "linux"},
		{at: "some other name"},
		{at: "usr/src/linux-source-6.99"},
		{at: "linux", other: []string{"README", "._linux", "debian/rules", ".metadata/x"}},
		{at: "linux", other: []string{"second/Kbuild", "second/Kconfig", "second/Makefile"}, err: "there are 2 kernel trees in it, such as linux and second"},
		{at: "a/b/c/d/linux", err: "not a kernel tree"},
		{at: "a/linux", other: []string{"b/README"}, err: "not a kernel tree"},
	} {
		t.Run(fmt.Sprint(tt.at, tt.other), func(t *testing.T) {
			tree, dir := fakeTree(t), t.TempDir()
			if err := os.CopyFS(filepath.Join(dir, tt.at), os.DirFS(tree)); err != nil {
				t.Fatal(err)
			}
			for _, name := range tt.other {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				write(t, path, "VERSION = 6\nPATCHLEVEL = 98\n")
			}
			store := cache.Store{Dir: t.TempDir()}
			source, err := kernel.Fetch(t.Context(), store, parse(t, tarball(t, dir, "", filepath.Join(t.TempDir(), "a.tar.gz"))), nil)
			if tt.err != "" {
				if err == nil || !hint.IsUsage(err) || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("the error is %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			sameTree(t, source.Dir, tree)
		})
	}
}

func TestFetchTarballCutShort(t *testing.T) {
	tree := fakeTree(t)
	for _, name := range []string{"a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2", "a.tar.zst"} {
		t.Run(name, func(t *testing.T) {
			whole, err := os.ReadFile(tarball(t, tree, "linux/", filepath.Join(t.TempDir(), name)))
			if err != nil {
				t.Fatal(err)
			}
			cuts := []int{0, 1, 512, len(whole) / 2, len(whole) - 1}
			if name == "a.tar" {
				// A cut between two members, which tar takes
				// for the end.
				cuts = append(cuts, len(whole)-1024, bytes.Index(whole, []byte("linux/include/")))
			}
			for _, cut := range cuts {
				store := cache.Store{Dir: t.TempDir()}
				file := filepath.Join(t.TempDir(), name)
				if err := os.WriteFile(file, whole[:cut], 0o644); err != nil {
					t.Fatal(err)
				}
				source, err := kernel.Fetch(t.Context(), store, parse(t, file), nil)
				if err == nil || !strings.Contains(err.Error(), file) || hint.Of(err) == "" {
					t.Errorf("cut at %d: %+v, %v, hint %q", cut, source, err, hint.Of(err))
				}
				if left := entries(t, store, "source"); len(left) > 0 {
					t.Errorf("cut at %d: left behind: %v", cut, left)
				}
			}
		})
	}
}

func TestFetchTarballOfSomethingElse(t *testing.T) {
	store := cache.Store{Dir: t.TempDir()}
	file := tarball(t, filepath.Join(fakeTree(t), "scripts"), "scripts/", filepath.Join(t.TempDir(), "a.tar.gz"))
	_, err := kernel.Fetch(t.Context(), store, parse(t, file), nil)
	if err == nil || !hint.IsUsage(err) || !strings.Contains(err.Error(), file+": not a kernel tree") {
		t.Errorf("the error is %v", err)
	}
	if left := entries(t, store, "source"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestFetchTarballWithoutProgram checks that what is missing is named, with its
// package, whatever the file is called.
func TestFetchTarballWithoutProgram(t *testing.T) {
	for ending, program := range map[string]string{".tar.xz": "xz", ".tar.bz2": "bzip2", ".tar.zst": "zstd", ".tar.lz4": "lz4"} {
		t.Run(program, func(t *testing.T) {
			file := tarball(t, fakeTree(t), "", filepath.Join(t.TempDir(), "a"+ending))
			other := filepath.Join(t.TempDir(), "linux.tar.gz")
			if err := os.Rename(file, other); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", t.TempDir())
			spec := parse(t, other)
			_, err := kernel.Fetch(t.Context(), cache.Store{Dir: t.TempDir()}, spec, nil)
			if e, ok := errors.AsType[*run.NotFoundError](err); !ok || e.Program != program {
				t.Errorf("the error is %v", err)
			}
			missing := doctor.Missing(doctor.Needed(doctor.Examine(t.Context(), target.All()), spec.Uses()...))
			if !slices.ContainsFunc(missing, func(tool doctor.Tool) bool { return tool.Name == program && tool.Package != "" }) {
				t.Errorf("doctor misses %v", missing)
			}
			url := parse(t, "https://example.org/linux"+ending+"#sha256="+strings.Repeat("0", 64))
			if !slices.Equal(url.Uses(), spec.Uses()) {
				t.Errorf("the file uses %q, the URL %q", spec.Uses(), url.Uses())
			}
		})
	}
}
