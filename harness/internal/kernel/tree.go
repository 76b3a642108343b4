// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/index"
)

// treeScan is one walk over a tree.
type treeScan struct {
	root    string
	settled time.Time // files changed before this may be trusted
	old     index.Index

	group   *errgroup.Group
	mu      sync.Mutex
	index   index.Index
	digests map[string][sha256.Size]byte
	read    int // files that had to be read
}

// hashTree returns the identity of the directory tree root: a digest of the
// names, types, execute permissions and contents of its files and symlinks, as
// far as they are source. indexDir keeps what was learned about each file,
// so that an unchanged tree is not read again.
func hashTree(ctx context.Context, root, indexDir string) (string, error) {
	id, _, err := scanTree(ctx, root, indexDir, index.Window)
	return id, err
}

// scanTree is hashTree with a window other than [index.Window]. It also returns
// how many files it had to read.
func scanTree(ctx context.Context, root, indexDir string, window time.Duration) (id string, read int, err error) {
	path := index.Path(indexDir, root)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	s := &treeScan{
		root: root, settled: time.Now().Add(-window), old: index.Load(path),
		group: group, index: index.Index{}, digests: map[string][sha256.Size]byte{},
	}
	group.Go(func() error { return s.walk(ctx, ".") })
	if err := group.Wait(); err != nil {
		return "", 0, fmt.Errorf("reading the kernel tree: %w", err)
	}
	if s.read > 0 { // deleted files may stay in the index
		if err := index.Save(path, s.index); err != nil {
			return "", 0, fmt.Errorf("writing the index of the kernel tree: %w", err)
		}
	}
	dirs := make([]string, 0, len(s.digests))
	for dir := range s.digests {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	h := sha256.New()
	for _, dir := range dirs {
		digest := s.digests[dir]
		fmt.Fprintf(h, "%d:%s%s", len(dir), dir, digest[:])
	}
	return hex.EncodeToString(h.Sum(nil)), s.read, nil
}

// walk scans the directory dir, and those below it in parallel.
func (s *treeScan) walk(ctx context.Context, dir string) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if dir != "." && ignoresItself(filepath.Join(s.root, dir)) {
		return nil
	}
	d, err := os.Open(filepath.Join(s.root, dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	list, err := d.ReadDir(-1)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })

	fd := int(d.Fd())
	old := s.old[dir]
	entries := make([]index.Entry, 0, len(list))
	read := 0
	var sum []byte // what goes into the directory's digest
	for _, item := range list {
		name := item.Name()
		if !isSource(name, item.IsDir()) {
			continue
		}
		if item.IsDir() {
			sub := filepath.Join(dir, name)
			walk := func() error { return s.walk(ctx, sub) }
			// TryGo never blocks: while every worker is busy, this
			// one goes on by itself.
			if !s.group.TryGo(walk) {
				if err := walk(); err != nil {
					return err
				}
			}
			continue
		}
		for len(old) > 0 && old[0].Name < name {
			old = old[1:]
		}
		var st unix.Stat_t
		if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &fs.PathError{Op: "stat", Path: filepath.Join(d.Name(), name), Err: err}
		}
		e := index.Entry{Name: name, Stamp: index.StampOf(&st)}
		if len(old) > 0 && old[0].Name == name && old[0].Stamp == e.Stamp {
			e.Digest = old[0].Digest
		} else {
			if err := e.Read(filepath.Join(d.Name(), name)); err != nil {
				return err
			}
			read++
			e.Stamp = e.Stamp.Settled(s.settled)
		}
		kind := byte('-')
		switch {
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
			kind = 'l' // or a kind without content, which has no digest
		case st.Mode&0o111 != 0:
			kind = 'x'
		}
		sum = append(sum, kind)
		sum = binary.LittleEndian.AppendUint32(sum, uint32(len(name)))
		sum = append(sum, name...)
		sum = append(sum, e.Digest[:]...)
		entries = append(entries, e)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.read += read
	s.index[dir] = entries
	if len(entries) > 0 {
		s.digests[dir] = sha256.Sum256(sum)
	}
	return nil
}

// hashFile returns the sha256 of a file. It keeps an index, as hashTree does.
func hashFile(ctx context.Context, path, indexDir string) (string, error) {
	at := index.Path(indexDir, path)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	e := index.Entry{Name: path, Stamp: index.StampOf(&st)}
	if old := index.Load(at)["."]; len(old) == 1 && old[0].Stamp == e.Stamp {
		return hex.EncodeToString(old[0].Digest[:]), nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	settled := time.Now().Add(-index.Window)
	file, err := cache.Digest(path)
	if err != nil {
		return "", err
	}
	if _, err := hex.Decode(e.Digest[:], []byte(file.SHA256)); err != nil {
		return "", err
	}
	e.Stamp = e.Stamp.Settled(settled)
	return file.SHA256, index.Save(at, index.Index{".": {e}})
}
