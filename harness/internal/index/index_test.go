// SPDX-License-Identifier: BSD-3-Clause

package index

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/gob"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// tree returns an index with some directories of that many files each.
func tree(dirs, files int) Index {
	index := Index{}
	for d := range dirs {
		entries := make([]Entry, files)
		for f := range entries {
			n := int64(d*files + f)
			entries[f] = Entry{
				Name:   fmt.Sprintf("some-header-%d.h", f),
				Stamp:  Stamp{Size: n, Mtime: 1_700_000_000_000_000_000 + n, Ctime: -n, Ino: 1<<63 + uint64(n), Mode: 0o100644},
				Digest: sha256.Sum256([]byte{byte(n), byte(n >> 8), byte(n >> 16)}),
			}
		}
		index[fmt.Sprintf("drivers/some-driver-%d", d)] = entries
	}
	return index
}

func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "index")
	if got := Load(path); got != nil {
		t.Errorf("a missing index is %v", got)
	}
	for _, want := range []Index{{}, {".": {}}, tree(3, 5)} {
		if err := Save(path, want); err != nil {
			t.Fatal(err)
		}
		if got := Load(path); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	// Whichever byte is damaged, and wherever it is cut, nothing is loaded.
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		damaged := bytes.Clone(text)
		damaged[i] ^= 1
		if got := decode(damaged); got != nil {
			t.Fatalf("damaged at byte %d it is %v", i, got)
		}
		if got := decode(text[:i]); got != nil {
			t.Fatalf("cut at byte %d it is %v", i, got)
		}
	}
}

// TestDecodeRefuses decodes what is not an index but has a valid checksum.
func TestDecodeRefuses(t *testing.T) {
	digests := make([]byte, 2*sha256.Size)
	for name, c := range map[string]any{
		"something else":    "kheaders tree index 1\n",
		"too few counts":    columns{Dirs: []string{"a", "b"}, Counts: []int{1}, Names: []string{"x"}, Stamps: make([]int64, 5), Digests: digests[:sha256.Size]},
		"too few stamps":    columns{Dirs: []string{"a"}, Counts: []int{2}, Names: []string{"x", "y"}, Stamps: make([]int64, 9), Digests: digests},
		"too few digests":   columns{Dirs: []string{"a"}, Counts: []int{2}, Names: []string{"x", "y"}, Stamps: make([]int64, 10), Digests: digests[:63]},
		"too few names":     columns{Dirs: []string{"a"}, Counts: []int{1}},
		"too many names":    columns{Dirs: []string{"a"}, Counts: []int{1}, Names: []string{"x", "y"}, Stamps: make([]int64, 10), Digests: digests},
		"a negative count":  columns{Dirs: []string{"a"}, Counts: []int{-1}},
		"nothing but a sum": nil,
	} {
		var buf bytes.Buffer
		if c != nil {
			if err := gob.NewEncoder(&buf).Encode(c); err != nil {
				t.Fatal(err)
			}
		}
		if got := decode(binary.LittleEndian.AppendUint32(buf.Bytes(), crc32.Checksum(buf.Bytes(), castagnoli))); got != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// BenchmarkIndex uses as many files as a kernel's source has.
func BenchmarkIndex(b *testing.B) {
	path, index := filepath.Join(b.TempDir(), "index"), tree(5000, 16)
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			if err := Save(path, index); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			if len(Load(path)) != len(index) {
				b.Fatal("it is another index")
			}
		}
	})
}
