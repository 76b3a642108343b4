// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHashFile(t *testing.T) {
	dir, index := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "file")
	digests := map[string]bool{}
	for _, text := range []string{"one", "two", "due"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			got, err := hashFile(t.Context(), path, index)
			if err != nil {
				t.Fatal(err)
			}
			digests[got] = true
		}
	}
	if len(digests) != 3 {
		t.Errorf("three contents have %d digests", len(digests))
	}
	if !digests["7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"] { // printf one | sha256sum
		t.Errorf("no digest is a sha256: %v", digests)
	}
}
