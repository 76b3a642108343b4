// SPDX-License-Identifier: BSD-3-Clause

package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSendfile checks that both files can be sent without a buffer in between, as
// servers and copying programs do.
func TestSendfile(t *testing.T) {
	begin(t)
	withoutBuffer(t, func(t *testing.T, file int, off *int64, length int) ([]byte, error) {
		t.Helper()
		const name = "/sent" // in memory, as all files here
		out, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
		if err != nil {
			t.Fatalf("creating %s: %v", name, err)
		}
		defer func() {
			if err := errors.Join(unix.Unlink(name), unix.Close(out)); err != nil {
				t.Errorf("removing %s: %v", name, err)
			}
		}()
		for sent := 0; sent < length; {
			n, err := unix.Sendfile(out, file, off, length-sent)
			if err != nil {
				return nil, fmt.Errorf("after %d bytes: %w", sent, err)
			}
			if n == 0 {
				break
			}
			sent += n
		}
		if _, err := unix.Seek(out, 0, unix.SEEK_SET); err != nil {
			t.Fatal(err)
		}
		return io.ReadAll(&fdReader{fd: out})
	})
}

// TestSplice does the same with a pipe.
func TestSplice(t *testing.T) {
	begin(t)
	withoutBuffer(t, func(t *testing.T, file int, off *int64, length int) ([]byte, error) {
		t.Helper()
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := errors.Join(unix.Close(pipe[0]), unix.Close(pipe[1])); err != nil {
				t.Errorf("closing the pipe: %v", err)
			}
		}()
		got := make([]byte, length)
		read := 0
		for read < length {
			n, err := unix.Splice(file, off, pipe[1], nil, min(length-read, 16<<10), 0)
			if err != nil {
				return nil, fmt.Errorf("after %d bytes: %w", read, err)
			}
			if n == 0 {
				break
			}
			for end := read + int(n); read < end; {
				m, err := unix.Read(pipe[0], got[read:end])
				if err != nil || m == 0 {
					t.Fatalf("reading the pipe: %d bytes, error %v", m, err)
				}
				read += m
			}
		}
		return got[:read], nil
	})
}

// withoutBuffer checks a call that moves bytes out of a file, from an offset or,
// if off is nil, from the file's position.
func withoutBuffer(t *testing.T, call func(t *testing.T, file int, off *int64, length int) ([]byte, error)) {
	t.Helper()
	for _, name := range []string{path, sysPath} {
		want := content(t)
		if name == sysPath && expect.SysfsTaken {
			want = sysfsFile(t) // the kernel's own
		}
		file := openFile(t, name)
		for _, part := range []struct{ off, length, want int }{
			{0, 1, 1},
			{4093, 70001, 70001},
			{len(want) - 100, 4096, 100},
			{len(want), 4096, 0},
			{len(want) + 1, 4096, 0},
		} {
			off := int64(part.off)
			got, err := call(t, file, &off, part.length)
			end := part.off + part.want
			if err != nil || len(got) != part.want || part.want > 0 && !bytes.Equal(got, want[part.off:end]) || off != int64(end) {
				t.Errorf("%s, %d bytes at %d: %d bytes, error %v, then at %d; want %d, or other bytes", name, part.length, part.off, len(got), err, off, part.want)
			}
		}
		got, err := call(t, file, nil, len(want)+1<<20)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s, whole: %d bytes, error %v, or other bytes than a read gives", name, len(got), err)
		}
		pos, err := unix.Seek(file, 0, unix.SEEK_CUR)
		if err != nil || pos != int64(len(want)) {
			t.Errorf("%s, whole: then at %d, error %v; want %d", name, pos, err, len(want))
		}
	}
}
