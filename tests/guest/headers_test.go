// SPDX-License-Identifier: BSD-3-Clause

package guest

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/xi2/xz"
	"golang.org/x/sys/unix"
)

// headers are files that users of the archive look for.
var headers = []string{
	"./include/generated/autoconf.h",
	"./include/generated/uapi/linux/version.h",
	"./include/linux/kconfig.h",
	"./include/linux/types.h",
}

// TestDecode unpacks the archive in the guest. Unless the run is thorough, it
// stops after a hundred entries: decoding all of them takes seconds on an
// emulated machine, and the host has checked an archive with the same digest.
func TestDecode(t *testing.T) {
	begin(t)
	loaded(t)
	const enough = 100
	// This is not the decoder that the host uses: two of them should agree, and
	// this one takes a third of the time.
	z, err := xz.NewReader(bufio.NewReaderSize(&fdReader{fd: open(t)}, 64<<10), 0)
	if err != nil {
		t.Fatalf("xz: %v", err)
	}
	archive := tar.NewReader(z)
	seen := map[string]bool{}
	version := ""
	for expect.Thorough || len(seen) < enough {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("tar, entry %d: %v", len(seen), err)
		}
		checkEntry(t, h)
		if seen[h.Name] {
			t.Errorf("%s is in the archive twice", h.Name)
		}
		seen[h.Name] = true
		if h.Name == "./include/generated/uapi/linux/version.h" {
			b, err := io.ReadAll(archive)
			if err != nil {
				t.Fatalf("%s: %v", h.Name, err)
			}
			version = string(b)
		} else if n, err := io.Copy(io.Discard, archive); err != nil || n != h.Size {
			t.Fatalf("%s: %d bytes, error %v; want %d", h.Name, n, err, h.Size)
		}
	}
	t.Attr("decoded_entries", strconv.Itoa(len(seen)))
	if len(seen) < enough {
		t.Errorf("the archive has %d entries, want at least %d", len(seen), enough)
	}
	if !expect.Thorough {
		return
	}
	for _, name := range headers {
		if !seen[name] {
			t.Errorf("%s is not in the archive", name)
		}
	}
	code, err := versionCode(cmp.Or(expect.Version, expect.Release))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("#define LINUX_VERSION_CODE %d\n", code); !strings.Contains(version, want) {
		t.Errorf("version.h:\n%s\nwant a line %q", version, want)
	}
	// The tar ends before the xz stream does, which must be intact to its end.
	if _, err := io.Copy(io.Discard, z); err != nil {
		t.Errorf("xz, after the last entry: %v", err)
	}
}

// checkEntry checks that an entry is safe and simple to unpack.
func checkEntry(t *testing.T, h *tar.Header) {
	t.Helper()
	want := int64(0o644)
	switch h.Typeflag {
	case tar.TypeReg:
	case tar.TypeDir:
		want = 0o755
	default:
		t.Errorf("%s is of type %q, want a file or a directory", h.Name, h.Typeflag)
	}
	if h.Mode != want || h.Uid != 0 || h.Gid != 0 {
		t.Errorf("%s has mode %#o, owner %d:%d; want %#o, 0:0", h.Name, h.Mode, h.Uid, h.Gid, want)
	}
	if !strings.HasPrefix(h.Name, "./") || slices.Contains(strings.Split(h.Name, "/"), "..") {
		t.Errorf("%s does not lie below ./", h.Name)
	}
}

// versionCode returns LINUX_VERSION_CODE for a kernel release, such as
// 6.12.117-kheaders or 6.13.0-rc1.
func versionCode(release string) (int, error) {
	end := strings.IndexFunc(release, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end < 0 {
		end = len(release)
	}
	code := 0
	fields := strings.Split(release[:end], ".")
	for i := range 3 {
		n := 0
		if i < len(fields) {
			var err error
			if n, err = strconv.Atoi(fields[i]); err != nil {
				return 0, fmt.Errorf("kernel release %q: %w", release, err)
			}
		}
		// The patch level has eight bits, and is capped at 255.
		code = code<<8 + min(n, 255)
	}
	return code, nil
}

// fdReader reads a descriptor, bypassing the runtime's poller.
type fdReader struct{ fd int }

func (r *fdReader) Read(b []byte) (int, error) {
	n, err := unix.Read(r.fd, b)
	if err != nil {
		return 0, err
	}
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// TestParallelReaders checks that eight readers at once, each with its own
// descriptor and chunk size, get the same bytes.
func TestParallelReaders(t *testing.T) {
	begin(t)
	want := content(t)
	var readers sync.WaitGroup
	for _, chunk := range []int{4096, 32768, 65536, 65537, 100003, 1<<17 - 1, 1 << 17, 1 << 18} {
		fd := open(t)
		readers.Go(func() {
			buf := make([]byte, min(chunk, len(want)))
			at := 0
			for {
				n, err := unix.Read(fd, buf)
				if err != nil {
					t.Errorf("reading %d bytes at %d: %v", chunk, at, err)
					return
				}
				if n == 0 {
					break
				}
				if at+n > len(want) || !bytes.Equal(buf[:n], want[at:at+n]) {
					t.Errorf("reading %d bytes at %d: other bytes than a lone reader gets", chunk, at)
					return
				}
				at += n
			}
			if at != len(want) {
				t.Errorf("reading %d bytes at a time: %d in all, want %d", chunk, at, len(want))
			}
		})
	}
	readers.Wait()
}
