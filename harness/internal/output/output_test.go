// SPDX-License-Identifier: BSD-3-Clause

package output_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/output"
)

var errStopped = errors.New("stopped")

// half writes the start of a file and fails.
func half(w io.Writer) error {
	_, err := io.WriteString(w, "half")
	return errors.Join(err, errStopped)
}

func whole(w io.Writer) error {
	_, err := io.WriteString(w, "whole")
	return err
}

// content checks what a file has in it.
func content(t *testing.T, path, want string) {
	t.Helper()
	if text, err := os.ReadFile(path); err != nil || string(text) != want {
		t.Errorf("%s has %q, %v, want %q", path, text, err, want)
	}
}

// names checks what a directory has in it.
func names(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s has %q, want %q", dir, got, want)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := output.Write(path, half); !errors.Is(err, errStopped) {
		t.Errorf("half of it: %v", err)
	}
	names(t, dir)
	if err := output.Write(path, whole); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
	if err := output.Write(path, half); !errors.Is(err, errStopped) {
		t.Errorf("half of another: %v", err)
	}
	names(t, dir, "file")
	content(t, path, "whole")
	if err := output.Write(filepath.Join(dir, "no", "file"), whole); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("where no directory is: %v", err)
	}
}

func TestCopy(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := output.Copy(to, from); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing to copy: %v", err)
	}
	if err := output.Write(from, whole); err != nil {
		t.Fatal(err)
	}
	if err := output.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	content(t, to, "whole")
	if err := output.Copy(to, dir); err == nil {
		t.Error("a directory was copied")
	}
	content(t, to, "whole")
}

func TestDirectory(t *testing.T) {
	fill := func(dir string) error { return output.Write(filepath.Join(dir, "file"), whole) }
	stop := func(dir string) error { return output.Write(filepath.Join(dir, "file"), half) }

	top := t.TempDir()
	made := filepath.Join(top, "a", "b")
	if err := output.Directory(made, stop); !errors.Is(err, errStopped) {
		t.Errorf("half of it: %v", err)
	}
	names(t, filepath.Join(top, "a"))
	if err := output.Directory(made, fill); err != nil {
		t.Fatal(err)
	}
	names(t, filepath.Join(top, "a"), "b")
	content(t, filepath.Join(made, "file"), "whole")

	empty := filepath.Join(top, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := output.Directory(empty+"/", fill); err != nil {
		t.Errorf("an empty one: %v", err)
	}
	if info, err := os.Stat(empty); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}

	// Whatever exists already stays.
	t.Chdir(empty)
	for _, dir := range []string{made, ".", "..", "/", filepath.Join(made, "file"), filepath.Join(made, "file", "c")} {
		if err := output.Directory(dir, fill); err == nil || hint.Of(err) == "" {
			t.Errorf("%s was replaced, or there was no advice: %v", dir, err)
		}
	}
	content(t, filepath.Join(made, "file"), "whole")
}
