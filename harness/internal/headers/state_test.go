// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kheaders/kheaders/harness/internal/index"
	"github.com/kheaders/kheaders/module/archive"
)

// TestPackRemembers damages what is remembered, in several ways. The result is
// the same, whether or not it had to be packed again.
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
			// Without the index, all headers are read and found
			// unchanged.
			again(filepath.Ext(name) == "")
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		again(filepath.Ext(name) == "")
		again(true)
	}
}

// TestReadsOnce counts the headers that are read.
func TestReadsOnce(t *testing.T) {
	opts := smallTree(t)
	files := selected(t, opts)
	s := &state{window: 200 * time.Millisecond}
	look := func(known index.Index, read int) *content {
		t.Helper()
		c, err := s.look(t.Context(), files, known)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.readAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c.read != read {
			t.Errorf("read %d headers, want %d", c.read, read)
		}
		return c
	}
	c := look(nil, len(files))
	// They are too young to be trusted.
	c = look(c.index, len(files))
	time.Sleep(s.window + 50*time.Millisecond)
	c = look(c.index, len(files))
	c = look(c.index, 0)
	put(t, filepath.Join(opts.Source, "include/linux/kconfig.h"), "/* b comment */\n#define KCONFIG\n")
	if changed := look(c.index, 1); changed.id() == c.id() {
		t.Error("an edit of the same size was not seen")
	}
}

// TestPackedIsWhatIsRemembered edits a header between the look at its stamp and
// the packing. Afterwards Pack remembers what the archive contains, or nothing.
func TestPackedIsWhatIsRemembered(t *testing.T) {
	const name = "include/linux/kconfig.h"
	opts := smallTree(t)
	files := selected(t, opts)
	s := &state{} // trusts every stamp
	look := func(known index.Index) *content {
		t.Helper()
		c, err := s.look(t.Context(), files, known)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	pack := func(c *content) {
		t.Helper()
		for _, file := range files {
			text, err := os.ReadFile(rootFS{}.path(file.Path))
			if err != nil {
				t.Fatal(err)
			}
			c.packed(file, text)
		}
	}
	remembers := func(c *content) bool {
		t.Helper()
		s.record = filepath.Join(t.TempDir(), "record")
		s.index = filepath.Join(t.TempDir(), "index")
		s.remember(c, Result{})
		_, err := os.Stat(s.record)
		return err == nil
	}

	first := look(nil)
	put(t, filepath.Join(opts.Source, name), "#define EDITED\n")
	pack(first)
	if first.torn || first.read != len(files) || !remembers(first) {
		t.Fatalf("torn %v, %d headers read of %d", first.torn, first.read, len(files))
	}
	second := look(first.index)
	if len(second.unread) != 1 {
		t.Errorf("%d headers to be read again, want the edited one", len(second.unread))
	}
	if err := second.readAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if second.id() != first.id() {
		t.Error("what was packed was not what was remembered")
	}

	put(t, filepath.Join(opts.Source, name), "#define AGAIN!\n")
	pack(second)
	if !second.torn || remembers(second) {
		t.Error("a known header that was packed with other content is remembered")
	}
	if unpacked := look(nil); remembers(unpacked) {
		t.Error("headers that nobody read are remembered")
	}
}

// selected returns the headers of a tree.
func selected(t *testing.T, opts Options) []archive.File {
	t.Helper()
	trees, err := openTrees(opts.Source, opts.Build, opts.Target)
	if err != nil {
		t.Fatal(err)
	}
	files, err := trees.Select()
	if err != nil {
		t.Fatal(err)
	}
	return files
}
