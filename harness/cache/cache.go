// SPDX-License-Identifier: BSD-3-Clause

// Package cache keeps results under the digest of what they were made from. An
// entry appears whole or not at all: it is built in a directory beside its
// place, under a lock, and renamed. Interrupted builds leave nothing that a
// later run would take for a result.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
)

// Key names an entry: the digest of everything that its content depends on.
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
	// Dir is the directory; it is made when it is first needed.
	Dir string
}

// Entry is something in the store.
type Entry struct {
	// Dir is its directory. It must not be written to.
	Dir string
	// Hit tells that it was there already.
	Hit bool
}

// Path returns the path of one of its files.
func (e Entry) Path(name string) string { return filepath.Join(e.Dir, name) }

// File describes one output of an entry.
type File struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

const manifestName = "kheaders-cache.json"

type manifest struct {
	Outputs map[string]File `json:"outputs"`
}

// Get returns the entry kind/key, building it with build when it is missing,
// or when one of its outputs is no longer what was stored. build fills dir and
// returns the names of the outputs below it, which are digested now and
// checked on every later Get. Concurrent callers, in this process or another,
// wait for the one that builds.
func (s Store) Get(ctx context.Context, kind string, key Key, build func(ctx context.Context, dir string) (outputs []string, err error)) (Entry, error) {
	entry := Entry{Dir: filepath.Join(s.Dir, kind, string(key))}
	if intact(entry.Dir) {
		entry.Hit = true
		return entry, nil
	}
	if err := os.MkdirAll(filepath.Dir(entry.Dir), 0o755); err != nil {
		return Entry{}, fmt.Errorf("making the cache directory: %w", err)
	}
	unlock, err := lock(ctx, entry.Dir+".lock")
	if err != nil {
		return Entry{}, fmt.Errorf("locking the cache entry %s/%s: %w", kind, key, err)
	}
	defer unlock()
	if intact(entry.Dir) { // built while we waited
		entry.Hit = true
		return entry, nil
	}

	// The lock is ours, so whatever lies here was left by a run that died.
	partial := entry.Dir + ".partial"
	for _, dir := range []string{entry.Dir, partial} {
		if err := os.RemoveAll(dir); err != nil {
			return Entry{}, fmt.Errorf("clearing the cache entry: %w", err)
		}
	}
	if err := os.Mkdir(partial, 0o755); err != nil {
		return Entry{}, fmt.Errorf("making the cache entry: %w", err)
	}
	outputs, err := build(ctx, partial)
	if err == nil {
		err = seal(partial, outputs)
	}
	if err == nil {
		err = os.Rename(partial, entry.Dir)
	}
	if err != nil {
		return Entry{}, errors.Join(err, os.RemoveAll(partial))
	}
	return entry, nil
}

// seal writes the manifest, last and synced: an entry without it is no entry.
func seal(dir string, outputs []string) error {
	m := manifest{Outputs: map[string]File{}}
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

func intact(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return false
	}
	var m manifest
	if json.Unmarshal(text, &m) != nil {
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

// lock takes an exclusive lock that ends with the process, however it ends.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, err
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
