// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

// packed writes text to a compressed file.
func packed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "file.xz")
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// output runs xzcat with an input file and returns what it writes to its output.
func output(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	stdin, stdout := os.Stdin, os.Stdout
	defer func() { os.Stdin, os.Stdout = stdin, stdout }()
	in, err := os.Open(input)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	os.Stdin, os.Stdout = in, out
	runErr := run(args)
	for _, f := range []*os.File{in, out} {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text), runErr
}

func TestXzcat(t *testing.T) {
	long := strings.Repeat("some text, again and again\n", 100_000)
	one, two := packed(t, "one\n"), packed(t, long)
	if got, err := output(t, os.DevNull, one, two); err != nil || got != "one\n"+long {
		t.Errorf("two files give %d bytes, %v", len(got), err)
	}
	if got, err := output(t, two); err != nil || got != long {
		t.Errorf("the input gives %d bytes, %v", len(got), err)
	}

	if _, err := output(t, os.DevNull); err == nil {
		t.Error("nothing is taken for an archive")
	}
	if _, err := output(t, os.DevNull, filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	text, err := os.ReadFile(two)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.xz")
	if err := os.WriteFile(cut, text[:len(text)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := output(t, os.DevNull, cut); err == nil || !strings.Contains(err.Error(), cut) {
		t.Errorf("a file that was cut short: %v", err)
	}
	if got, err := output(t, os.DevNull, one, cut, one); err == nil || strings.Count(got, "one\n") != 1 {
		t.Errorf("after an error it went on: %d bytes, %v", len(got), err)
	}
}
