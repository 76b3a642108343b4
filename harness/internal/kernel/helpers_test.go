// SPDX-License-Identifier: BSD-3-Clause

package kernel_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

// fakeVersion is the version of the toy kernel in tests/fakelinux.
const fakeVersion = "6.99.1"

// first and second are architectures to build for.
var first, second = target.All()[0], target.All()[1]

// fakeTree returns a copy of the toy kernel tree.
func fakeTree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "linux")
	if err := os.CopyFS(dir, os.DirFS("../../../tests/fakelinux")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fakeTools puts stand-ins for compilers, and for other programs that are only
// looked up, first in PATH. $VERSION is the version that they print.
func fakeTools(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	names := []string{"flex", "bison", "bc", "gcc", "ld"}
	for _, a := range target.All() {
		names = append(names, a.CrossPrefix+"gcc", a.CrossPrefix+"ld")
	}
	for _, name := range names {
		script(t, dir, name, `echo "$(basename "$0") ${VERSION-1.0}"`)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv(run.KeepVariable, "VERSION FAIL HANG LOSE")
	return dir
}

// script writes a shell script to dir.
func script(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// countMake adds a make to the directory of fake tools that appends its
// arguments to a file, and returns a function that counts the calls.
func countMake(t *testing.T, tools string) func() int {
	t.Helper()
	path, err := run.Look("make")
	if err != nil {
		t.Fatal(err)
	}
	calls := filepath.Join(t.TempDir(), "calls")
	script(t, tools, "make", `echo "$@" >> '`+calls+`'; exec `+path+` "$@"`)
	return func() int {
		text, err := os.ReadFile(calls)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return strings.Count(string(text), "\n")
	}
}

// lines collects progress.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.text, "\n")
}

func parse(t *testing.T, text string) kernel.Spec {
	t.Helper()
	spec, err := kernel.ParseSpec(text)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// fetch gets a source. It lets others have it at once, since a test is alone.
func fetch(t *testing.T, store cache.Store, spec string) kernel.Source {
	t.Helper()
	source, err := kernel.Fetch(t.Context(), store, parse(t, spec), nil)
	if err != nil {
		t.Fatal(err)
	}
	source.Release()
	return source
}

func lookup(t *testing.T, name string) target.Target {
	t.Helper()
	a, err := target.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// tarball packs a directory, with prefix before each name, compressed as the
// file's name says.
func tarball(t *testing.T, dir, prefix, file string) string {
	t.Helper()
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		link := ""
		if info.Mode()&os.ModeSymlink != 0 {
			if link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		h.Name = prefix + name
		if err := w.WriteHeader(h); err != nil || link != "" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	var z io.WriteCloser
	switch {
	case strings.HasSuffix(file, "gz"):
		z = gzip.NewWriter(&packed)
	case strings.HasSuffix(file, "xz"):
		if z, err = xz.NewWriter(&packed); err != nil {
			t.Fatal(err)
		}
	case strings.HasSuffix(file, "bz2"):
		packed = compressed(t, "bzip2", plain.Bytes())
	case strings.HasSuffix(file, "zst"):
		packed = compressed(t, "zstd", plain.Bytes())
	case strings.HasSuffix(file, "lz4"):
		packed = compressed(t, "lz4", plain.Bytes())
	default:
		packed = plain
	}
	if z != nil {
		if _, err := z.Write(plain.Bytes()); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// compressed returns what a program makes of a text. make test installs the
// program.
func compressed(t *testing.T, program string, text []byte) bytes.Buffer {
	t.Helper()
	if _, err := run.Look(program); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := (run.Cmd{Argv: []string{program, "-c"}, Stdin: bytes.NewReader(text), Stdout: &out}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out
}

// sameTree checks that two directories contain the same files.
func sameTree(t *testing.T, got, want string) {
	t.Helper()
	store := cache.Store{Dir: t.TempDir()}
	if a, b := fetch(t, store, got), fetch(t, store, want); a.Key != b.Key {
		t.Errorf("%s differs from %s", got, want)
	}
}

// entries returns what is in a kind's directory in the store, except for locks.
func entries(t *testing.T, store cache.Store, kind string) []string {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(store.Dir, kind))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		if !strings.HasSuffix(e.Name(), ".lock") {
			names = append(names, e.Name())
		}
	}
	return names
}
