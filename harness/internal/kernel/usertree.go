// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/snapshot"
)

// userTree is a user's tree, of which we have a copy. Its directory in the store,
// for which it has the lock, holds the copy, an object tree for each combination
// of what shapes one, and patched copies.
type userTree struct {
	path  string // the user's
	dir   string
	files snapshot.Tree
	held  *cache.Lock
}

const (
	treeKind    = "tree"    // of directories in the store
	objectsName = "objects" // in such a directory
)

// renewGenerated gives new times to the generated headers of these names in all
// object trees.
func renewGenerated(objects string, names map[string]bool) error {
	dirs, err := filepath.Glob(filepath.Join(objects, "*", objectName, "include/generated"))
	if err != nil {
		return err
	}
	more, err := filepath.Glob(filepath.Join(objects, "*", objectName, "arch/*/include/generated"))
	if err != nil {
		return err
	}
	now := time.Now()
	for _, dir := range append(dirs, more...) {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !names[entry.Name()] || !entry.Type().IsRegular() {
				return err
			}
			return os.Chtimes(path, now, now)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// kind is the kind, in the store, of what is in the tree's directory, and objects
// that of its object trees.
func (t *userTree) kind() string { return filepath.Join(treeKind, filepath.Base(t.dir)) }

func (t *userTree) objects() string { return filepath.Join(t.kind(), objectsName) }
