// SPDX-License-Identifier: BSD-3-Clause

package output

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/hint"
)

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	say := func(text string, then error) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return errors.Join(err, then)
		}
	}
	if err := Write(path, say("whole", nil)); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if err := Write(path, say("half", broken)); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "whole" {
		t.Errorf("the file has %q, %v", text, err)
	}
	if list := names(t, dir); len(list) != 1 {
		t.Errorf("left behind: %q", list)
	}
	if err := Write(filepath.Join(dir, "none/file"), say("", nil)); err == nil {
		t.Error("a file was written to where there is no directory")
	}
}

func TestCopy(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := os.WriteFile(from, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(to); err != nil || string(text) != "text" {
		t.Errorf("the copy has %q, %v", text, err)
	}
	if err := Copy(to, filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}

func TestDirectory(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "above", "dir")
	fill := func(then error) func(string) error {
		return func(dir string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "file"), nil, 0o644), then)
		}
	}
	// What the user has beside it, whatever its name, is the user's.
	mine := dir + ".partial"
	if err := os.MkdirAll(filepath.Join(mine, "mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if err := Directory(dir, fill(broken)); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
	if list := names(t, filepath.Dir(dir)); len(list) != 1 {
		t.Errorf("left behind: %q", list)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Directory(dir, fill(nil)); err != nil { // empty
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the directory is %v, %v", info, err)
	}
	if list := names(t, dir); len(list) != 1 || list[0] != "file" {
		t.Errorf("it holds %q", list)
	}
	if list := names(t, mine); len(list) != 1 {
		t.Errorf("the user's directory holds %q", list)
	}
}

func TestDirectoryRefuses(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		root:                               "is not empty",
		"/":                                "cannot be replaced",
		".":                                "cannot be replaced",
		filepath.Join(root, "file", "dir"): "making the directory above",
	} {
		err := Directory(dir, func(string) error {
			t.Errorf("%s was filled", dir)
			return nil
		})
		if !hint.IsUsage(err) || !strings.Contains(err.Error(), want) || hint.Of(err) == "" {
			t.Errorf("%s: %v, hint %q", dir, err, hint.Of(err))
		}
	}
}
