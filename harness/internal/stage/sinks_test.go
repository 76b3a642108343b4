// SPDX-License-Identifier: BSD-3-Clause

package stage

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestStamper checks that each line gets one stamp and is otherwise copied byte
// for byte, no matter how the console's output is split.
func TestStamper(t *testing.T) {
	console := "first\nsecond\r\n\n" + strings.Repeat("\x00\xff", 100) + "\nno newline"
	stamp := regexp.MustCompile(`(?m)^\[ +\d+\.\d{3}\] `)
	for _, size := range []int{1, 3, len(console)} {
		var out bytes.Buffer
		s := &stamper{out: &out, start: time.Now()}
		for piece := []byte(console); len(piece) > 0; piece = piece[min(size, len(piece)):] {
			if n, err := s.Write(piece[:min(size, len(piece))]); n == 0 || err != nil {
				t.Fatal(n, err)
			}
		}
		if n := len(stamp.FindAllString(out.String(), -1)); n != strings.Count(console, "\n")+1 {
			t.Errorf("in pieces of %d: %d stamps in %q", size, n, out.String())
		}
		if rest := stamp.ReplaceAllString(out.String(), ""); rest != console {
			t.Errorf("in pieces of %d: %q", size, rest)
		}
	}
	if _, err := (&stamper{out: full{}}).Write([]byte("x")); !errors.Is(err, errFull) {
		t.Errorf("the error is %v", err)
	}
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestBounded(t *testing.T) {
	var out bytes.Buffer
	b := &bounded{out: &out, room: 5}
	for _, piece := range []string{"abc", "de"} {
		if _, err := b.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Write([]byte("f")); !errors.Is(err, errFlood) || out.String() != "abcde" {
		t.Errorf("the error is %v with %q kept", err, out.String())
	}
}

func TestHead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	h := &head{file: f}
	for _, size := range []int{10, maxQEMULog, 10} {
		if n, err := h.Write(bytes.Repeat([]byte("x"), size)); n != size || err != nil {
			t.Fatalf("writing %d bytes: %d, %v", size, n, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) != maxQEMULog || h.text.String() != string(text) {
		t.Errorf("the file has %d bytes, the text %d, want %d", len(text), h.text.Len(), maxQEMULog)
	}
	if _, err := (&head{file: f}).Write([]byte("x")); err == nil {
		t.Error("a closed file is no error")
	}
}
