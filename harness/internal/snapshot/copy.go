// SPDX-License-Identifier: BSD-3-Clause

package snapshot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/internal/index"
)

// has reports whether the copy has the item already, by its content.
func (u *update) has(dir string, i item) (bool, error) {
	path := filepath.Join(u.To, dir, i.entry.Name)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	} else if err != nil {
		return false, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if i.kind == 'l' {
		link, err := os.Readlink(path)
		return err == nil && i.link != "" && link == i.link, nil
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || (st.Mode&0o111 != 0) != (i.kind == 'x') || st.Size != i.entry.Stamp.Size {
		return false, nil
	}
	e := index.Entry{Stamp: index.StampOf(&st)}
	err := e.Read(path)
	return err == nil && e.Digest == i.entry.Digest, err
}

// put puts an item into the copy, with a new time.
func (u *update) put(dir string, i *item) error {
	if err := u.begin(); err != nil {
		return err
	}
	parent := filepath.Join(u.To, dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	path := filepath.Join(parent, i.entry.Name)
	if info, err := os.Lstat(path); err == nil && (info.IsDir() || i.kind == 'l') {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	switch {
	case i.link != "":
		i.entry.Digest = sha256.Sum256([]byte(i.link))
		return u.putLink(path, i.link)
	case i.kind == 'l':
		return nil // a socket or a pipe, which no build reads
	}
	digest, err := putFile(path, u.in(i.path), i.kind == 'x')
	if err != nil {
		return err
	}
	if !u.fresh && digest != i.entry.Digest { // written to since we read it
		i.entry.Stamp = index.Racy
	}
	i.entry.Digest = digest
	return nil
}

// putLink makes a link. Make asks for the time of what it leads to, so that gets
// a new one.
func (u *update) putLink(path, link string) error {
	if err := os.Symlink(link, path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode().IsRegular() {
		now := time.Now()
		return os.Chtimes(path, now, now)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tree.Opaque = true // of a directory, or of a file that is not there yet
	return nil
}

// putFile copies a file, whole or not at all. It returns the digest of what it
// has copied.
func putFile(to, from string, program bool) (digest [sha256.Size]byte, err error) {
	in, err := os.Open(from)
	if err != nil {
		return digest, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	mode := os.FileMode(0o644)
	if program {
		mode = 0o755
	}
	// The name is none of a source file's.
	partial := filepath.Join(filepath.Dir(to), ".kheaders-"+filepath.Base(to))
	out, err := os.OpenFile(partial, os.O_RDWR|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return digest, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	// Where the file system can, both share their blocks until one is written
	// to. No file of a kernel's is too large for memory.
	var text []byte
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		text, err = io.ReadAll(out)
	} else if text, err = io.ReadAll(in); err == nil {
		_, err = out.Write(text)
	}
	if err != nil {
		return digest, fmt.Errorf("copying %s: %w", from, err)
	}
	if err := out.Chmod(mode); err != nil { // whatever the umask
		return digest, err
	}
	return sha256.Sum256(text), os.Rename(partial, to)
}

// clear removes from a directory of the copy what is not in the tree.
func (u *update) clear(dir string, items []item, subs map[string][]string) error {
	keep := map[string]bool{}
	for _, i := range items {
		keep[i.entry.Name] = true
	}
	var names []string
	if u.old != nil {
		for _, e := range u.old[dir] {
			names = append(names, e.Name)
		}
	} else {
		list, err := os.ReadDir(filepath.Join(u.To, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			return err
		}
		for _, d := range list {
			if _, ok := subs[filepath.Join(dir, d.Name())]; !ok || !d.IsDir() {
				names = append(names, d.Name())
			}
		}
	}
	for _, name := range names {
		if !keep[name] {
			if err := u.remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove removes a file from the copy, and the directories that it leaves empty.
func (u *update) remove(name string) error {
	if err := u.begin(); err != nil {
		return err
	}
	path := filepath.Join(u.To, name)
	if err := os.RemoveAll(path); err != nil && !errors.Is(err, unix.ENOTDIR) {
		return err
	}
	u.mu.Lock()
	u.tree.Changed++
	u.mu.Unlock()
	for path = filepath.Dir(path); path != u.To && os.Remove(path) == nil; {
		path = filepath.Dir(path)
	}
	return nil
}

// resolved is what becomes of a link: a link with that content, or a copy of the
// file or of the directory with that real path.
type resolved struct{ link, file, dir string }

// resolve says what becomes of a link. What leads out of the tree, to a driver
// that is kept elsewhere, would change unseen.
func (u *update) resolve(name string, via []string) (resolved, error) {
	path := filepath.Join(u.From, name)
	link, err := os.Readlink(path)
	if err != nil {
		return resolved{}, err
	}
	to := link
	if !filepath.IsAbs(to) {
		to = filepath.Join(filepath.Dir(path), to)
	}
	if len(via) == 0 && within(u.From, filepath.Clean(to)) {
		if !filepath.IsAbs(link) {
			return resolved{link: link}, nil
		}
		rel, err := filepath.Rel(filepath.Dir(path), to)
		return resolved{link: rel}, err // into the copy
	}
	at, err := filepath.EvalSymlinks(path)
	if err != nil {
		return resolved{link: link}, nil // it leads nowhere, or in circles
	}
	info, err := os.Stat(at)
	if err != nil {
		return resolved{}, err
	}
	if !info.IsDir() {
		return resolved{file: at}, nil
	}
	for _, outer := range append(via, u.From) {
		if within(at, outer) {
			return resolved{link: link}, nil // it contains where we are
		}
	}
	return resolved{dir: at}, nil
}

// in returns where the content of an item is.
func (u *update) in(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(u.From, path)
}

// within reports whether a path is in a directory, or is that.
func within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// SyncFileSystem waits until everything on dir's file system is on the disk.
func SyncFileSystem(dir string) (err error) {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("syncing the cache: %w", err)
	}
	return nil
}
