// SPDX-License-Identifier: BSD-3-Clause

// Package cache keeps results under the digest of what they were made from. An
// entry is built under a lock, and in its final place, because a kernel's
// object tree contains its own path. Its manifest commits it. The manifest is
// written last and removed first: a directory without one was left by an
// interrupted run, and the next run clears it.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// Key names an entry. It is the digest of everything that the entry depends on.
type Key string

// KeyOf digests a list of parts. Parts are length-prefixed: ("ab", "c") and
// ("a", "bc") give different keys.
func KeyOf(parts ...string) Key {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return Key(hex.EncodeToString(h.Sum(nil))[:32])
}

// Store is a cache directory.
type Store struct {
	// Dir is the directory; it is created when first needed.
	Dir string
	// OnWait, if set, is called once by a Get that has to wait for another
	// Get to build the same entry.
	OnWait func(kind string, key Key)
}

// Entry is something in the store.
type Entry struct {
	// Dir is its directory. Nobody may write to it.
	Dir string
	// Hit says that it was already there.
	Hit bool
}

// Path returns the path of one of its files.
func (e Entry) Path(name string) string { return filepath.Join(e.Dir, name) }

// File describes one output of an entry.
type File struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

const (
	manifestName = "kheaders-cache.json"
	lockSuffix   = ".lock"
)

type manifest struct {
	// Content is what a directory of [Renew] was made from.
	Content Key             `json:"content,omitempty"`
	Outputs map[string]File `json:"outputs"`
}

// keepError marks a failure that leaves its directory behind.
type keepError struct{ err error }

func (e *keepError) Error() string { return e.err.Error() }

func (e *keepError) Unwrap() error { return e.err }

// Keep wraps an error of a build function whose unfinished directory a person
// will want to look at. The directory stays until the next Get of that kind
// that has to build something; it is never taken for an entry.
func Keep(err error) error { return &keepError{err: err} }

// Root returns the directory for entries of a kind, and creates it if it does
// not exist. Some contents include the path of their entry, so Root's result
// depends neither on the working directory nor on the links that lead there.
func (s Store) Root(kind string) (string, error) {
	root, err := filepath.Abs(filepath.Join(s.Dir, kind))
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", fmt.Errorf("making the cache directory: %w", err)
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	return root, nil
}

// Find returns the entry kind/key. It is a hit if it exists and its outputs are
// what was stored.
func (s Store) Find(kind string, key Key) (Entry, error) {
	root, err := s.Root(kind)
	if err != nil {
		return Entry{}, err
	}
	dir := filepath.Join(root, string(key))
	return Entry{Dir: dir, Hit: intact(dir, "")}, nil
}

// Get returns the entry kind/key, building it with build if it is missing, or
// if one of its outputs is no longer what was stored. build fills dir, which is
// the entry's final place, and returns the names of the outputs below it. These
// are digested now and checked on every later Get. Other files stay as well,
// but are not checked. If build fails, dir is removed. Concurrent callers, in
// this process or another, wait for the one that builds.
func (s Store) Get(ctx context.Context, kind string, key Key, build func(ctx context.Context, dir string) (outputs []string, err error)) (Entry, error) {
	entry, err := s.Find(kind, key)
	if err != nil || entry.Hit {
		return entry, err
	}
	held, err := s.lock(ctx, kind, key, entry.Dir+lockSuffix)
	if err != nil {
		return Entry{}, fmt.Errorf("locking the cache entry %s/%s: %w", kind, key, err)
	}
	defer held.Release()
	if intact(entry.Dir, "") { // built while we waited
		entry.Hit = true
		return entry, nil
	}

	// We have the lock, so whatever is here was left by a run that died.
	if err := discard(entry.Dir); err != nil {
		return Entry{}, fmt.Errorf("clearing the cache entry: %w", err)
	}
	if err := sweep(filepath.Dir(entry.Dir)); err != nil {
		return Entry{}, fmt.Errorf("clearing what interrupted runs left: %w", err)
	}
	if err := os.Mkdir(entry.Dir, 0o755); err != nil {
		return Entry{}, fmt.Errorf("making the cache entry: %w", err)
	}
	outputs, err := build(ctx, entry.Dir)
	if err == nil {
		err = seal(entry.Dir, "", outputs)
	}
	if _, ok := errors.AsType[*keepError](err); ok {
		return Entry{}, err
	}
	if err != nil {
		return Entry{}, errors.Join(err, discard(entry.Dir))
	}
	return entry, nil
}

// discard removes an entry. The manifest goes first: what remains of an entry
// with some files gone must not look like an entry.
func discard(dir string) error {
	if err := os.Remove(filepath.Join(dir, manifestName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Compilers that briefly outlive a killed run may still be writing
	// here.
	var err error
	for range 30 {
		if err = os.RemoveAll(dir); !errors.Is(err, unix.ENOTEMPTY) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// sweep removes the directories below kindDir that are not entries and that
// nobody is working on.
func sweep(kindDir string) error {
	list, err := os.ReadDir(kindDir)
	if err != nil {
		return err
	}
	for _, d := range list {
		dir := filepath.Join(kindDir, d.Name())
		if !d.IsDir() || exists(filepath.Join(dir, manifestName)) {
			continue
		}
		held, err := TryLock(dir + lockSuffix)
		if errors.Is(err, ErrLocked) {
			continue
		}
		if err != nil {
			return err
		}
		// It may have been finished before we got the lock.
		if !exists(filepath.Join(dir, manifestName)) {
			err = discard(dir)
		}
		held.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// seal writes the manifest last, and syncs it: without it there is no entry.
func seal(dir string, content Key, outputs []string) error {
	m := manifest{Content: content, Outputs: map[string]File{}}
	for _, name := range outputs {
		f, err := Digest(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("digesting a cache output: %w", err)
		}
		m.Outputs[name] = f
	}
	text, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(dir, manifestName), text, 0o644)
}

func intact(dir string, content Key) bool {
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return false
	}
	var m manifest
	if json.Unmarshal(text, &m) != nil || m.Content != content {
		return false
	}
	for name, want := range m.Outputs {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err != nil || info.Size() != want.Size {
			return false
		}
		if got, err := Digest(path); err != nil || got != want {
			return false
		}
	}
	return true
}

// Digest returns the size and the sha256 of a file.
func Digest(path string) (_ File, err error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return File{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return File{Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

// ErrLocked says that someone else holds the lock.
var ErrLocked = errors.New("locked by another run")

// Lock is an exclusive lock on a file.
type Lock struct{ file *os.File }

// Release gives the lock up.
func (l *Lock) Release() { _ = l.file.Close() }

// Inherit makes the lock survive execve(2), and end with the program that this
// process becomes.
func (l *Lock) Inherit() error {
	if _, err := unix.FcntlInt(l.file.Fd(), unix.F_SETFD, 0); err != nil {
		return fmt.Errorf("keeping the lock %s: %w", l.file.Name(), err)
	}
	return nil
}

// TryLock takes an exclusive lock on a file, which it creates if necessary. The
// lock ends with the process, however that ends. If someone else has it, the
// error is [ErrLocked].
func TryLock(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = unix.EINTR
	for errors.Is(err, unix.EINTR) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &Lock{f}, nil
}

// lock waits for the lock until ctx ends, and says so if it has to.
func (s Store) lock(ctx context.Context, kind string, key Key, path string) (*Lock, error) {
	for waiting := false; ; waiting = true {
		held, err := TryLock(path)
		if !errors.Is(err, ErrLocked) {
			return held, err
		}
		if !waiting && s.OnWait != nil {
			s.OnWait(kind, key)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
