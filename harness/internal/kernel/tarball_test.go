// SPDX-License-Identifier: BSD-3-Clause

package kernel_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/run"
)

func TestFetchTarball(t *testing.T) {
	tree := fakeTree(t)
	for _, name := range []string{"a.tar", "a.tar.gz", "a.tgz", "a.tar.xz", "a.txz"} {
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

func TestFetchTarballCutShort(t *testing.T) {
	tree := fakeTree(t)
	for _, name := range []string{"a.tar", "a.tar.gz", "a.tar.xz"} {
		whole, err := os.ReadFile(tarball(t, tree, "linux/", filepath.Join(t.TempDir(), name)))
		if err != nil {
			t.Fatal(err)
		}
		cuts := []int{0, 1, 512, len(whole) / 2, len(whole) - 1}
		if name == "a.tar" {
			// A cut between two members, which tar takes for the
			// end.
			cuts = append(cuts, len(whole)-1024, bytes.Index(whole, []byte("linux/include/")))
		}
		for _, cut := range cuts {
			t.Run(fmt.Sprintf("%s at %d", name, cut), func(t *testing.T) {
				store := cache.Store{Dir: t.TempDir()}
				file := filepath.Join(t.TempDir(), name)
				if err := os.WriteFile(file, whole[:cut], 0o644); err != nil {
					t.Fatal(err)
				}
				source, err := kernel.Fetch(t.Context(), store, parse(t, file), nil)
				if err == nil || !strings.Contains(err.Error(), file) || hint.Of(err) == "" {
					t.Errorf("%+v, %v, hint %q", source, err, hint.Of(err))
				}
				if left := entries(t, store, "source"); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		}
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

func TestFetchTarballWithoutXZ(t *testing.T) {
	file := tarball(t, fakeTree(t), "", filepath.Join(t.TempDir(), "a.tar.xz"))
	t.Setenv("PATH", t.TempDir())
	_, err := kernel.Fetch(t.Context(), cache.Store{Dir: t.TempDir()}, parse(t, file), nil)
	if e, ok := errors.AsType[*run.NotFoundError](err); !ok || e.Program != "xz" {
		t.Errorf("the error is %v", err)
	}
}
