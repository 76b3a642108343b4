// SPDX-License-Identifier: BSD-3-Clause

package guest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/tests/guest/kmsg"
)

// TestKernel checks that this is the kernel that the headers are for.
func TestKernel(t *testing.T) {
	begin(t)
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	release, machine := unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])
	t.Attr("release", release)
	if release != expect.Release {
		t.Errorf("uname -r: %q, want %q", release, expect.Release)
	}
	if machine != expect.Machine {
		t.Errorf("uname -m: %q, want %q", machine, expect.Machine)
	}
}

// TestAbsentBeforeLoad checks that there is no trace of the module at boot.
func TestAbsentBeforeLoad(t *testing.T) {
	begin(t)
	isModule(t)
	absent(t)
}

// TestLoadIsSilent checks that loading prints nothing, except what the kernel
// itself says about the first module that is out of tree or unsigned. Users
// would take anything else for an error.
func TestLoadIsSilent(t *testing.T) {
	begin(t)
	unloaded(t)
	var before []string
	// A line that comes at random is unlikely to come with both loads.
	for i := range 2 {
		log := watchLog(t)
		if err := load(t); err != nil {
			t.Fatalf("load %d: %v", i+1, err)
		}
		var texts []string
		for _, r := range logSince(t, log) {
			switch {
			case r.TaintNotice(module):
				if i > 0 {
					t.Errorf("load %d: %q again", i+1, r)
				}
			case r.Background():
			case r.Level <= kmsg.Warning || strings.Contains(r.Text, module) || slices.Contains(before, r.Text):
				t.Errorf("load %d printed %q, want nothing", i+1, r)
			default:
				texts = append(texts, r.Text)
			}
		}
		if i == 0 {
			before = texts
			if err := unload(); err != nil {
				t.Fatalf("unloading: %v", err)
			}
		}
	}
}

// TestStat checks for a regular file that belongs to root, is readable by
// everyone, and has its true size.
func TestStat(t *testing.T) {
	begin(t)
	loaded(t)
	st := stat(t)
	if st.Mode != mode {
		t.Errorf("mode %#o, want %#o", st.Mode, mode)
	}
	if st.Uid != 0 || st.Gid != 0 {
		t.Errorf("owner %d:%d, want 0:0", st.Uid, st.Gid)
	}
	if st.Nlink != 1 {
		t.Errorf("%d links, want 1", st.Nlink)
	}
	if st.Size != expect.Size {
		t.Errorf("size %d, want %d", st.Size, expect.Size)
	}
	var opened unix.Stat_t
	if err := unix.Fstat(open(t), &opened); err != nil {
		t.Fatalf("fstat: %v", err)
	}
	if opened.Size != st.Size || opened.Ino != st.Ino {
		t.Errorf("fstat: size %d, inode %d; stat: size %d, inode %d", opened.Size, opened.Ino, st.Size, st.Ino)
	}
}

// TestDigest checks that the bytes are those that the host put into the module.
func TestDigest(t *testing.T) {
	begin(t)
	b := content(t)
	sum := sha256.Sum256(b)
	got := hex.EncodeToString(sum[:])
	t.Attr("sha256", got)
	t.Attr("size", strconv.Itoa(len(b)))
	if int64(len(b)) != expect.Size {
		t.Errorf("read %d bytes, want %d", len(b), expect.Size)
	}
	if got != expect.SHA256 {
		t.Errorf("sha256 %s, want %s", got, expect.SHA256)
	}
	if size := stat(t).Size; int64(len(b)) != size {
		t.Errorf("read %d bytes, stat says %d", len(b), size)
	}
}

// TestRead checks single reads at various offsets and lengths.
func TestRead(t *testing.T) {
	begin(t)
	want := content(t)
	size := len(want)
	fd := open(t)
	buf := make([]byte, size+1)

	for _, tt := range []struct {
		name        string
		off, length int
		n           int
	}{
		{"nothing", 0, 0, 0},
		{"one byte", 0, 1, 1},
		{"short", 0, 6, 6},
		{"a page", 0, 4096, 4096},
		{"unaligned", 4093, 8191, 8191},
		{"odd place and length", size/2 | 1, 65537, 65537},
		{"whole and more", 0, size + 1, size},
		{"last byte", size - 1, 1, 1},
		{"across the end", size - 100, 4096, 100},
		{"nothing at the end", size, 0, 0},
		{"at the end", size, 4096, 0},
		{"just past the end", size + 1, 4096, 0},
		{"far past the end", 1 << 40, 4096, 0},
	} {
		got := buf[:tt.length]
		behind := got[tt.n:min(tt.n+4096, len(got))]
		clear(behind)
		n, err := unix.Pread(fd, got, int64(tt.off))
		if err != nil || n != tt.n {
			t.Errorf("pread %s (%d bytes at %d): %d bytes, error %v; want %d", tt.name, tt.length, tt.off, n, err, tt.n)
			continue
		}
		if n > 0 && !bytes.Equal(got[:n], want[tt.off:tt.off+n]) {
			t.Errorf("pread %s (%d bytes at %d): other bytes than a read from the start gives", tt.name, tt.length, tt.off)
		}
		if len(bytes.Trim(behind, "\x00")) > 0 {
			t.Errorf("pread %s (%d bytes at %d): wrote behind the %d bytes it returned", tt.name, tt.length, tt.off, n)
		}
	}
	if _, err := unix.Pread(fd, buf[:1], -1); !errors.Is(err, unix.EINVAL) {
		t.Errorf("pread at -1: %v, want %v", err, unix.EINVAL)
	}

	// None of these may have moved the file's own position.
	at := 0
	for _, length := range []int{1, 2, 3, 4096, 4095, 1, 7, 100003} {
		n, err := unix.Read(fd, buf[:length])
		if err != nil || n != length || !bytes.Equal(buf[:n], want[at:at+n]) {
			t.Fatalf("read of %d bytes at %d: %d bytes, error %v, or other bytes", length, at, n, err)
		}
		at += n
	}
	if pos, err := unix.Seek(fd, 0, unix.SEEK_CUR); err != nil || pos != int64(at) {
		t.Errorf("after reading %d bytes the position is %d, error %v", at, pos, err)
	}
}

// TestSeek checks that lseek works as on any regular file.
func TestSeek(t *testing.T) {
	begin(t)
	want := content(t)
	size := int64(len(want))
	fd := open(t)
	for _, tt := range []struct {
		name   string
		from   int64 // the position before
		off    int64
		whence int
		pos    int64
		err    error
	}{
		{"to the start", 100, 0, unix.SEEK_SET, 0, nil},
		{"to an odd place", 0, 4097, unix.SEEK_SET, 4097, nil},
		{"to the last byte", 0, size - 1, unix.SEEK_SET, size - 1, nil},
		{"to the end", 0, size, unix.SEEK_SET, size, nil},
		{"past the end", 0, size + 10, unix.SEEK_SET, size + 10, nil},
		{"before the start", 100, -1, unix.SEEK_SET, 100, unix.EINVAL},
		{"nowhere", 100, 0, unix.SEEK_CUR, 100, nil},
		{"on", 100, 5, unix.SEEK_CUR, 105, nil},
		{"back", 100, -3, unix.SEEK_CUR, 97, nil},
		{"back before the start", 100, -101, unix.SEEK_CUR, 100, unix.EINVAL},
		{"to the end, from there", 100, 0, unix.SEEK_END, size, nil},
		{"back from the end", 0, -6, unix.SEEK_END, size - 6, nil},
		{"back from the end to the start", 100, -size, unix.SEEK_END, 0, nil},
		{"past the end, from there", 0, 10, unix.SEEK_END, size + 10, nil},
		{"back from the end before the start", 100, -size - 1, unix.SEEK_END, 100, unix.EINVAL},
		{"to data", 0, 4097, unix.SEEK_DATA, 4097, nil},
		{"to a hole", 100, 4097, unix.SEEK_HOLE, size, nil},
		{"to data at the end", 100, size, unix.SEEK_DATA, 100, unix.ENXIO},
		{"with an unknown whence", 100, 0, 99, 100, unix.EINVAL},
		{"with a negative whence", 100, 0, -1, 100, unix.EINVAL},
	} {
		if _, err := unix.Seek(fd, tt.from, unix.SEEK_SET); err != nil {
			t.Fatalf("seek to %d: %v", tt.from, err)
		}
		pos, err := unix.Seek(fd, tt.off, tt.whence)
		if !errors.Is(err, tt.err) || (err == nil && pos != tt.pos) {
			t.Errorf("seek %s: %d, error %v; want %d, error %v", tt.name, pos, err, tt.pos, tt.err)
			continue
		}
		// The next read shows the file's real position.
		var buf [6]byte
		n, err := unix.Read(fd, buf[:])
		rest := want[min(tt.pos, size):]
		rest = rest[:min(len(buf), len(rest))]
		if err != nil || !bytes.Equal(buf[:n], rest) {
			t.Errorf("read after seek %s: %x, error %v; want %x", tt.name, buf[:n], err, rest)
		}
	}
}

// TestWriteRefused checks that not even root can change the bytes. procfs lets
// root open any file for writing, regardless of its mode, but refuses the write.
func TestWriteRefused(t *testing.T) {
	begin(t)
	loaded(t)
	before := stat(t)
	for _, flags := range []int{unix.O_WRONLY, unix.O_RDWR, unix.O_WRONLY | unix.O_APPEND, unix.O_WRONLY | unix.O_TRUNC} {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != nil {
			if !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
				t.Errorf("open with flags %#x: %v, want success, %v or %v", flags, err, unix.EACCES, unix.EPERM)
			}
			continue
		}
		if n, err := unix.Write(fd, []byte("x")); !errors.Is(err, unix.EIO) {
			t.Errorf("write with flags %#x: %d, error %v; want %v", flags, n, err, unix.EIO)
		}
		if n, err := unix.Pwrite(fd, []byte("x"), 0); !errors.Is(err, unix.EIO) {
			t.Errorf("pwrite with flags %#x: %d, error %v; want %v", flags, n, err, unix.EIO)
		}
		if err := unix.Close(fd); err != nil {
			t.Errorf("close with flags %#x: %v", flags, err)
		}
	}
	// procfs accepts a truncation and ignores the size.
	for _, size := range []int64{0, expect.Size + 1} {
		if err := unix.Truncate(path, size); err != nil {
			t.Errorf("truncate to %d: %v, want success without effect", size, err)
		}
	}
	intact(t, before)
}

// TestChmod checks that root can change the mode, as for any file in /proc.
func TestChmod(t *testing.T) {
	begin(t)
	loaded(t)
	before := stat(t)
	if err := unix.Chmod(path, 0o400); err != nil {
		t.Fatalf("chmod 0400: %v", err)
	}
	if st := stat(t); st.Mode != unix.S_IFREG|0o400 {
		t.Errorf("mode %#o after chmod 0400", st.Mode)
	}
	asNobody(t, func() {
		if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); !errors.Is(err, unix.EACCES) {
			t.Errorf("open as another user after chmod 0400: descriptor %d, error %v; want %v", fd, err, unix.EACCES)
		}
	})
	if err := unix.Chmod(path, before.Mode&0o7777); err != nil {
		t.Fatalf("chmod back: %v", err)
	}
	intact(t, before)
}

// TestOrdinaryUser checks that everyone can read, and do nothing else.
func TestOrdinaryUser(t *testing.T) {
	begin(t)
	want := content(t)
	before := stat(t)
	asNobody(t, func() {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Errorf("open for reading: %v", err)
			return
		}
		var buf [4096]byte
		n, err := unix.Read(fd, buf[:])
		if err != nil || !bytes.Equal(buf[:n], want[:len(buf)]) {
			t.Errorf("read: %d bytes, error %v, or other bytes than root reads", n, err)
		}
		if err := unix.Close(fd); err != nil {
			t.Errorf("close: %v", err)
		}
		for _, tt := range []struct {
			name string
			call func() error
			want error
		}{
			{"open for writing", func() error { return openClose(path, unix.O_WRONLY) }, unix.EACCES},
			{"open for reading and writing", func() error { return openClose(path, unix.O_RDWR) }, unix.EACCES},
			{"open with O_TRUNC", func() error { return openClose(path, unix.O_RDONLY|unix.O_TRUNC) }, unix.EACCES},
			{"truncate", func() error { return unix.Truncate(path, 0) }, unix.EACCES},
			{"chmod", func() error { return unix.Chmod(path, 0o666) }, unix.EPERM},
			{"chown", func() error { return unix.Chown(path, 65534, 65534) }, unix.EPERM},
			{"unlink", func() error { return unix.Unlink(path) }, unix.EACCES},
			{"unload", unload, unix.EPERM},
		} {
			if tt.name == "unload" && expect.Module == "" {
				continue
			}
			if err := tt.call(); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			}
		}
	})
	intact(t, before)
}

func openClose(name string, flags int) error {
	fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// TestRemoveRefused checks that not even root can remove or replace the file.
func TestRemoveRefused(t *testing.T) {
	begin(t)
	loaded(t)
	before := stat(t)
	other := path + ".other"
	for _, tt := range []struct {
		name string
		err  error
		want error
	}{
		{"unlink", unix.Unlink(path), unix.EPERM},
		{"rmdir", unix.Rmdir(path), unix.ENOTDIR},
		{"rename over another", unix.Rename(path, "/proc/version"), unix.EPERM},
		// procfs does not look up names that do not exist.
		{"rename", unix.Rename(path, other), unix.ENOENT},
		{"rename onto it", unix.Rename("/proc/version", path), unix.EPERM},
		{"rename to another file system", unix.Rename(path, "/kheaders.tar.xz"), unix.EXDEV},
		{"link", unix.Link(path, other), unix.ENOENT},
		{"exclusive creation", openClose(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY), unix.EEXIST},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, tt.err, tt.want)
		}
	}
	intact(t, before)
}
