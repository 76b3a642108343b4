// SPDX-License-Identifier: BSD-3-Clause

package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/internal/index"
)

// Options say what to copy, and where.
type Options struct {
	// From is the user's tree and To the copy, both by their real paths. The
	// parent of To must exist.
	From, To string
	// Index is a file that keeps what is known about the files in From, so that
	// only those are read that may have changed.
	Index string
	// Skip reports that a file or a directory is no part of the tree, beside
	// what never is one. It may be nil.
	Skip func(name string) bool
	// Discard is called when something changed that has no time of its own, such
	// as a link to a directory, so that make cannot know what depends on it. It
	// must discard all that was made from the copy.
	Discard func() error
	// Added is called with the base names of new files. A compiler may find one of
	// these before another file of that name, so whatever else has such a name needs
	// a new time. Update sees to those in the copy. It may be nil, like Discard.
	Added func(names map[string]bool) error
	// Window is how long a file must have been left alone for its times to
	// prove anything: [index.Window] if it is zero.
	Window time.Duration
}

// Tree is what a tree has in it. Names are relative to its root.
type Tree struct {
	// ID is a digest of the names, types, execute permissions and contents of
	// all files and links.
	ID string
	// Read is how many files had to be read, and Changed how many were copied or
	// removed.
	Read, Changed int
	// Opaque says that something changed for which Discard was called.
	Opaque bool

	files index.Index
}

// Digest returns a digest of the files whose names match.
func (t Tree) Digest(match func(name string) bool) string {
	h := sha256.New()
	for _, dir := range slices.Sorted(maps.Keys(t.files)) {
		for _, e := range t.files[dir] {
			if name := filepath.Join(dir, e.Name); match(name) {
				fmt.Fprintf(h, "%d:%s%s", len(name), name, e.Digest[:])
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Names returns a digest of the names that match.
func (t Tree) Names(match func(name string) bool) string {
	h := sha256.New()
	for _, dir := range slices.Sorted(maps.Keys(t.files)) {
		for _, e := range t.files[dir] {
			if name := filepath.Join(dir, e.Name); match(name) {
				fmt.Fprintf(h, "%s\x00", name)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// update is one walk over a user's tree.
type update struct {
	Options
	settled time.Time   // files changed before this may be trusted
	old     index.Index // nil: nobody knows what the copy has
	fresh   bool        // the copy is empty

	group *errgroup.Group
	begin func() error // must be called before the copy is changed

	mu      sync.Mutex // guards what follows
	tree    Tree
	digests map[string][sha256.Size]byte // of directories
	added   map[string]bool              // base names of new files
}

// item is a file, or a link that stays one, in the tree.
type item struct {
	entry index.Entry
	path  string // where its content is, below the tree or absolute
	kind  byte   // 'l' for what is no regular file, 'x' for a program, '-' otherwise
	link  string // the content of a link
}

// look calls stat for an item, by its name in a directory.
func (i *item) look(dir int, name string) error {
	var st unix.Stat_t
	flags := 0
	if i.link != "" {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	if err := unix.Fstatat(dir, name, &st, flags); err != nil {
		return &fs.PathError{Op: "stat", Path: i.path, Err: err}
	}
	i.kind = '-'
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		i.kind = 'l' // or a kind without content, which has no digest
	case st.Mode&0o111 != 0:
		i.kind = 'x'
	}
	i.entry.Stamp = index.StampOf(&st)
	return nil
}
