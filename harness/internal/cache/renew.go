// SPDX-License-Identifier: BSD-3-Clause

package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Hold returns a directory of the store that changes over time, and the lock on
// it. It waits for whoever has the lock.
func (s Store) Hold(ctx context.Context, kind string, key Key) (dir string, held *Lock, err error) {
	root, err := s.Root(kind)
	if err != nil {
		return "", nil, err
	}
	dir = filepath.Join(root, string(key))
	if held, err = s.lock(ctx, kind, key, dir+lockSuffix); err != nil {
		return "", nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		held.Release()
		return "", nil, fmt.Errorf("making a directory in the cache: %w", err)
	}
	return dir, held, nil
}

// Earlier is what an update finds in its directory.
type Earlier struct {
	// Any says that there was an update before.
	Any bool
	// Torn, if it is not zero, is when the first of one or more updates began
	// that have not come to an end. What was written since may be half-written.
	Torn time.Time
}

// renewingName marks a directory whose update has not come to an end.
const renewingName = "kheaders-cache.renewing"

// Renew brings the directory kind/key up to date with content, in place, unless it
// is that already. In contrast to an entry of [Store.Get], it has one content
// after the other, and update sees what the last one left. An error that update
// wraps with [Keep] is an end too, which leaves nothing half-written. The caller
// sees to it that nobody renews the directory while it is in use.
func (s Store) Renew(ctx context.Context, kind string, key, content Key, update func(ctx context.Context, dir string, earlier Earlier) (outputs []string, err error)) (Entry, error) {
	root, err := s.Root(kind)
	if err != nil {
		return Entry{}, err
	}
	entry := Entry{Dir: filepath.Join(root, string(key))}
	held, err := s.lock(ctx, kind, key, entry.Dir+lockSuffix)
	if err != nil {
		return Entry{}, fmt.Errorf("locking %s: %w", entry.Dir, err)
	}
	defer held.Release()
	if entry.Hit = intact(entry.Dir, content); entry.Hit {
		return entry, nil
	}
	earlier, err := begin(entry.Dir)
	if err != nil {
		return Entry{}, fmt.Errorf("beginning to renew %s: %w", entry.Dir, err)
	}
	outputs, err := update(ctx, entry.Dir, earlier)
	if err == nil {
		err = seal(entry.Dir, content, outputs)
	}
	if _, ended := errors.AsType[*keepError](err); err == nil || ended && ctx.Err() == nil {
		err = errors.Join(err, os.Remove(filepath.Join(entry.Dir, renewingName)))
	}
	if err != nil {
		return Entry{}, err
	}
	return entry, nil
}

// Current returns the directory kind/key. It is a hit if it has that content.
func (s Store) Current(kind string, key, content Key) (Entry, error) {
	root, err := s.Root(kind)
	if err != nil {
		return Entry{}, err
	}
	dir := filepath.Join(root, string(key))
	return Entry{Dir: dir, Hit: intact(dir, content)}, nil
}

// begin marks the directory, and makes it if it does not exist.
func begin(dir string) (Earlier, error) {
	var earlier Earlier
	switch err := os.Mkdir(dir, 0o755); {
	case errors.Is(err, fs.ErrExist):
		earlier.Any = true
	case err != nil:
		return earlier, err
	}
	if err := os.Remove(filepath.Join(dir, manifestName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return earlier, err
	}
	path := filepath.Join(dir, renewingName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return earlier, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() > 0 {
		earlier.Torn = info.ModTime()
	} else if err == nil {
		// The file system's own clock tells when.
		_, err = f.WriteString("what was written since this file may be half-written\n")
	}
	return earlier, errors.Join(err, f.Sync(), f.Close())
}
