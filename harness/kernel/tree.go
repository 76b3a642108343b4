// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/cache"
)

// racyWindow is how long before a scan a file must have been left alone for
// its times to prove anything about it later: a second change within the
// granularity of the file system's clock changes neither size nor times. FAT's
// two seconds are the coarsest.
const racyWindow = 2 * time.Second

// indexMagic starts an index file. It changes with the format.
var indexMagic = []byte("kheaders tree index 1\n")

// stamp is what the kernel tells about a file without reading it. Of two equal
// stamps, neither racy, the files are equal. ctime is in it because it cannot
// be set back, unlike mtime.
type stamp struct {
	Size, Mtime, Ctime int64 // bytes; nanoseconds since 1970
	Ino                uint64
	Mode               uint32
}

// racy is the stamp of an entry that has to be read again next time. No file
// has it.
var racy = stamp{Size: -1}

type treeEntry struct {
	name   string
	stamp  stamp
	digest [sha256.Size]byte // of a file's content or a link's target
}

// treeIndex maps directories, relative to the root, to their files and links
// in the order of their names.
type treeIndex map[string][]treeEntry

// treeScan is one walk over a tree.
type treeScan struct {
	root    string
	settled int64 // what was changed before may be trusted; ns since 1970
	old     treeIndex

	group   *errgroup.Group
	mu      sync.Mutex
	index   treeIndex
	digests map[string][sha256.Size]byte
	read    int // files that had to be read
}

// hashTree returns the identity of the directory tree root: a digest of the
// names, types, execute permissions and contents of its files and symlinks,
// without anything named .git. indexDir keeps what was learned about each
// file, so that a tree in which nothing changed is not read again.
func hashTree(ctx context.Context, root, indexDir string) (string, error) {
	id, _, err := scanTree(ctx, root, indexDir, racyWindow)
	return id, err
}

// scanTree is hashTree with another racyWindow, and also returns how many
// files it had to read.
func scanTree(ctx context.Context, root, indexDir string, window time.Duration) (id string, read int, err error) {
	name := sha256.Sum256([]byte(root))
	path := filepath.Join(indexDir, hex.EncodeToString(name[:16]))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	s := &treeScan{
		root: root, settled: time.Now().Add(-window).UnixNano(), old: loadIndex(path),
		group: group, index: treeIndex{}, digests: map[string][sha256.Size]byte{},
	}
	group.Go(func() error { return s.walk(ctx, ".") })
	if err := group.Wait(); err != nil {
		return "", 0, fmt.Errorf("reading the kernel tree: %w", err)
	}
	if s.read > 0 { // what is gone may stay in the index
		if err := saveIndex(path, s.index); err != nil {
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

// walk scans the directory dir, and the ones below it in parallel.
func (s *treeScan) walk(ctx context.Context, dir string) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
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
	entries := make([]treeEntry, 0, len(list))
	read := 0
	var sum []byte // what the directory's digest is made of
	for _, item := range list {
		name := item.Name()
		if name == ".git" {
			continue
		}
		if item.IsDir() {
			sub := filepath.Join(dir, name)
			walk := func() error { return s.walk(ctx, sub) }
			// Never blocks: with every worker busy, this one goes on
			// itself.
			if !s.group.TryGo(walk) {
				if err := walk(); err != nil {
					return err
				}
			}
			continue
		}
		for len(old) > 0 && old[0].name < name {
			old = old[1:]
		}
		var st unix.Stat_t
		if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &fs.PathError{Op: "stat", Path: filepath.Join(d.Name(), name), Err: err}
		}
		e := treeEntry{name: name, stamp: stampOf(&st)}
		if len(old) > 0 && old[0].name == name && old[0].stamp == e.stamp {
			e.digest = old[0].digest
		} else {
			if err := e.read(fd, filepath.Join(d.Name(), name)); err != nil {
				return err
			}
			read++
			if e.stamp.Mtime >= s.settled || e.stamp.Ctime >= s.settled {
				e.stamp = racy
			}
		}
		kind := byte('-')
		switch {
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
			kind = 'l' // or something without content, which has no digest
		case st.Mode&0o111 != 0:
			kind = 'x'
		}
		sum = append(sum, kind)
		sum = binary.LittleEndian.AppendUint32(sum, uint32(len(name)))
		sum = append(sum, name...)
		sum = append(sum, e.digest[:]...)
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

func stampOf(st *unix.Stat_t) stamp {
	return stamp{Size: st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(), Ino: st.Ino, Mode: st.Mode}
}

// read digests the entry's content. An entry that changes meanwhile becomes
// racy.
func (e *treeEntry) read(dirfd int, path string) (err error) {
	switch e.stamp.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		link, err := os.Readlink(path)
		if err != nil {
			return err
		}
		e.digest = sha256.Sum256([]byte(link))
		return nil
	case unix.S_IFREG:
	default: // a socket or a pipe: it has no content
		return nil
	}
	fd, err := unix.Openat(dirfd, e.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	h.Sum(e.digest[:0])
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if stampOf(&st) != e.stamp {
		e.stamp = racy
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// saveIndex writes an index: the magic, then for each directory its name, the
// number of its entries and the entries, then a CRC-32C of it all. Numbers are
// little-endian, names are preceded by their length.
func saveIndex(path string, index treeIndex) error {
	buf := appendIndex(slices.Clone(indexMagic), index)
	buf = binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf, castagnoli))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(path, buf, 0o644)
}

func appendIndex(buf []byte, index treeIndex) []byte {
	str := func(s string) {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(len(s)))
		buf = append(buf, s...)
	}
	for dir, entries := range index {
		str(dir)
		buf = binary.LittleEndian.AppendUint32(buf, uint32(len(entries)))
		for _, e := range entries {
			str(e.name)
			for _, n := range []uint64{uint64(e.stamp.Size), uint64(e.stamp.Mtime), uint64(e.stamp.Ctime), e.stamp.Ino, uint64(e.stamp.Mode)} {
				buf = binary.LittleEndian.AppendUint64(buf, n)
			}
			buf = append(buf, e.digest[:]...)
		}
	}
	return buf
}

// loadIndex reads an index. One that is missing or damaged is an empty one: it
// costs time, not correctness.
func loadIndex(path string) treeIndex {
	buf, err := os.ReadFile(path)
	if err != nil || len(buf) < len(indexMagic)+4 || !bytes.HasPrefix(buf, indexMagic) {
		return nil
	}
	body, sum := buf[:len(buf)-4], binary.LittleEndian.Uint32(buf[len(buf)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil
	}
	index, ok := parseIndex(body[len(indexMagic):])
	if !ok {
		return nil
	}
	return index
}

// entrySize is how many bytes an entry with an empty name takes.
const entrySize = 4 + 5*8 + sha256.Size

func parseIndex(buf []byte) (_ treeIndex, ok bool) {
	r := indexReader{buf: buf}
	index := treeIndex{}
	for len(r.buf) > 0 {
		dir := r.str()
		n := int(r.u32())
		if n > len(r.buf)/entrySize {
			return nil, false
		}
		entries := make([]treeEntry, n)
		for i := range entries {
			e := &entries[i]
			e.name = r.str()
			e.stamp = stamp{Size: int64(r.u64()), Mtime: int64(r.u64()), Ctime: int64(r.u64()), Ino: r.u64(), Mode: uint32(r.u64())}
			copy(e.digest[:], r.take(sha256.Size))
		}
		index[dir] = entries
	}
	return index, !r.short
}

// indexReader takes values off a buffer. Once the buffer is too short, all
// values are zero.
type indexReader struct {
	buf   []byte
	short bool
}

func (r *indexReader) take(n int) []byte {
	if n < 0 || n > len(r.buf) {
		r.short, r.buf = true, nil
		return nil
	}
	b := r.buf[:n]
	r.buf = r.buf[n:]
	return b
}

func (r *indexReader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *indexReader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *indexReader) str() string { return string(r.take(int(r.u32()))) }

// hashFile returns the sha256 of a file. It keeps an index as hashTree does.
func hashFile(ctx context.Context, path, indexDir string) (string, error) {
	name := sha256.Sum256([]byte(path))
	index := filepath.Join(indexDir, hex.EncodeToString(name[:16]))
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	e := treeEntry{name: path, stamp: stampOf(&st)}
	if old := loadIndex(index)["."]; len(old) == 1 && old[0].stamp == e.stamp {
		return hex.EncodeToString(old[0].digest[:]), nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	settled := time.Now().Add(-racyWindow).UnixNano()
	file, err := cache.Digest(path)
	if err != nil {
		return "", err
	}
	if _, err := hex.Decode(e.digest[:], []byte(file.SHA256)); err != nil {
		return "", err
	}
	if e.stamp.Mtime >= settled || e.stamp.Ctime >= settled {
		e.stamp = racy
	}
	return file.SHA256, saveIndex(index, treeIndex{".": {e}})
}
