// SPDX-License-Identifier: BSD-3-Clause

// Package index remembers the digests of files, so that a file is read again
// only when what stat tells about it has changed. An index costs or saves time;
// what is said about a file is true with and without it.
package index

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// Window is how long before it is read a file must have been left alone for its
// times to prove anything about it later: a second change within the
// granularity of the file system's clock changes neither size nor times. FAT's
// two seconds are the coarsest.
const Window = 2 * time.Second

// Stamp is what the kernel tells about a file without reading it. Of two equal
// stamps, neither [Racy], the files are equal. Ctime is in it because it cannot
// be set back, unlike mtime.
type Stamp struct {
	Size, Mtime, Ctime int64 // bytes; nanoseconds since 1970
	Ino                uint64
	Mode               uint32
}

// Racy is the stamp of an entry that has to be read again next time. No file
// has it.
var Racy = Stamp{Size: -1}

// StampOf returns the stamp of a file.
func StampOf(st *unix.Stat_t) Stamp {
	return Stamp{Size: st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(), Ino: st.Ino, Mode: st.Mode}
}

// Settled returns the stamp if the file was last changed before the given time,
// and [Racy] otherwise.
func (s Stamp) Settled(before time.Time) Stamp {
	if ns := before.UnixNano(); s.Mtime >= ns || s.Ctime >= ns {
		return Racy
	}
	return s
}

// Entry is a file, or a symbolic link, of which the target is the content.
type Entry struct {
	// Name is its name in its directory.
	Name string
	// Stamp is what it had when it was read.
	Stamp Stamp
	// Digest is the sha256 of its content; zero for what has none, such as a
	// socket.
	Digest [sha256.Size]byte
}

// Read digests what is at path, of which Stamp is known. An entry that changed
// since becomes [Racy].
func (e *Entry) Read(path string) (err error) {
	switch e.Stamp.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		link, err := os.Readlink(path)
		if err != nil {
			return err
		}
		e.Digest = sha256.Sum256([]byte(link))
		return nil
	case unix.S_IFREG:
	default: // a socket or a pipe: it has no content
		return nil
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	h.Sum(e.Digest[:0])
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if StampOf(&st) != e.Stamp {
		e.Stamp = Racy
	}
	return nil
}

// Index maps directories to their entries, in the order of their names.
type Index map[string][]Entry

// Path returns where below dir the index of what is called name is kept.
func Path(dir, name string) string {
	digest := sha256.Sum256([]byte(name))
	return filepath.Join(dir, hex.EncodeToString(digest[:16]))
}

// magic starts an index file. It changes with the format.
var magic = []byte("kheaders tree index 1\n")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Save writes an index, whole or not at all: the magic, then for each directory
// its name, the number of its entries and the entries, then a CRC-32C of it all.
// Numbers are little-endian, names are preceded by their length.
func Save(path string, index Index) error {
	buf := appendIndex(slices.Clone(magic), index)
	buf = binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf, castagnoli))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(path, buf, 0o644)
}

func appendIndex(buf []byte, index Index) []byte {
	str := func(s string) {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(len(s)))
		buf = append(buf, s...)
	}
	for dir, entries := range index {
		str(dir)
		buf = binary.LittleEndian.AppendUint32(buf, uint32(len(entries)))
		for _, e := range entries {
			str(e.Name)
			for _, n := range []uint64{uint64(e.Stamp.Size), uint64(e.Stamp.Mtime), uint64(e.Stamp.Ctime), e.Stamp.Ino, uint64(e.Stamp.Mode)} {
				buf = binary.LittleEndian.AppendUint64(buf, n)
			}
			buf = append(buf, e.Digest[:]...)
		}
	}
	return buf
}

// Load reads an index. One that is missing or damaged is an empty one.
func Load(path string) Index {
	buf, err := os.ReadFile(path)
	if err != nil || len(buf) < len(magic)+4 || !bytes.HasPrefix(buf, magic) {
		return nil
	}
	body, sum := buf[:len(buf)-4], binary.LittleEndian.Uint32(buf[len(buf)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil
	}
	index, ok := parse(body[len(magic):])
	if !ok {
		return nil
	}
	return index
}

// entrySize is how many bytes an entry with an empty name takes.
const entrySize = 4 + 5*8 + sha256.Size

func parse(buf []byte) (_ Index, ok bool) {
	r := reader{buf: buf}
	index := Index{}
	for len(r.buf) > 0 {
		dir := r.str()
		n := int(r.u32())
		if n > len(r.buf)/entrySize {
			return nil, false
		}
		entries := make([]Entry, n)
		for i := range entries {
			e := &entries[i]
			e.Name = r.str()
			e.Stamp = Stamp{Size: int64(r.u64()), Mtime: int64(r.u64()), Ctime: int64(r.u64()), Ino: r.u64(), Mode: uint32(r.u64())}
			copy(e.Digest[:], r.take(sha256.Size))
		}
		index[dir] = entries
	}
	return index, !r.short
}

// reader takes values off a buffer. Once the buffer is too short, all values
// are zero.
type reader struct {
	buf   []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.buf) {
		r.short, r.buf = true, nil
		return nil
	}
	b := r.buf[:n]
	r.buf = r.buf[n:]
	return b
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) str() string { return string(r.take(int(r.u32()))) }
