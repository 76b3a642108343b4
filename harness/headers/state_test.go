// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kheaders/kheaders/harness/index"
)

// TestPackRemembers damages what is remembered, byte by byte. The result is the
// same, whether or not it had to be packed again.
func TestPackRemembers(t *testing.T) {
	opts := smallTree(t)
	opts.Compressor = "go"
	opts.State = t.TempDir()
	first, err := packed(t, opts)
	if err != nil || first.Unchanged {
		t.Fatalf("%+v, error %v", first, err)
	}
	again := func(unchanged bool) {
		t.Helper()
		got, err := Pack(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		if got.Unchanged != unchanged {
			t.Errorf("unchanged is %v, want %v", got.Unchanged, unchanged)
		}
		if got.Unchanged = false; got != first {
			t.Errorf("got %+v, want %+v", got, first)
		}
	}
	again(true)
	files, err := filepath.Glob(filepath.Join(opts.State, "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("remembered in %v, error %v", files, err)
	}
	for _, name := range files {
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range [][]byte{nil, whole[:len(whole)/2], bytes.ToUpper(whole), []byte("null")} {
			if err := os.WriteFile(name, text, 0o644); err != nil {
				t.Fatal(err)
			}
			// Without the index all headers are read, and found the same.
			again(filepath.Ext(name) == "")
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		again(filepath.Ext(name) == "")
		again(true)
	}
}

// TestLookReadsOnce counts the headers that are read.
func TestLookReadsOnce(t *testing.T) {
	opts := smallTree(t)
	trees, err := openTrees(opts.Source, opts.Build, opts.Target)
	if err != nil {
		t.Fatal(err)
	}
	files, err := trees.Select()
	if err != nil {
		t.Fatal(err)
	}
	s := &state{window: 200 * time.Millisecond}
	look := func(known index.Index, read int) content {
		t.Helper()
		c, err := s.look(t.Context(), files, known)
		if err != nil {
			t.Fatal(err)
		}
		if c.read != read {
			t.Errorf("read %d headers, want %d", c.read, read)
		}
		return c
	}
	c := look(nil, len(files))
	// They are too young to be known for good.
	c = look(c.index, len(files))
	time.Sleep(s.window + 50*time.Millisecond)
	c = look(c.index, len(files))
	c = look(c.index, 0)
	put(t, filepath.Join(opts.Source, "include/linux/kconfig.h"), "/* b comment */\n#define KCONFIG\n")
	if changed := look(c.index, 1); changed.id == c.id {
		t.Error("an edit of the same size was not seen")
	}
}
