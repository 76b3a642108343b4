// SPDX-License-Identifier: BSD-3-Clause

package guest

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/tests/guest/insmod"
)

// TestSysfs checks that /sys, where bcc and others look, has the same bytes.
func TestSysfs(t *testing.T) {
	begin(t)
	if expect.SysfsTaken {
		t.Skip("not-applicable: the kernel's own kheaders has the file in /sys")
	}
	want := content(t)
	sysfsSays(t, "Y")
	var st unix.Stat_t
	if err := unix.Lstat(sysPath, &st); err != nil {
		t.Fatalf("stat %s: %v", sysPath, err)
	}
	if st.Mode != mode || st.Uid != 0 || st.Gid != 0 || st.Size != expect.Size {
		t.Errorf("%s has mode %#o, owner %d:%d, %d bytes; want %#o, 0:0, %d", sysPath, st.Mode, st.Uid, st.Gid, st.Size, mode, expect.Size)
	}
	fd := openFile(t, sysPath)
	if got := readAll(t, fd, sysPath); !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes, and not those of %s, which has %d", sysPath, len(got), path, len(want))
	}
	var buf [200]byte
	for _, off := range []int{1, 4095, len(want) - 100, len(want), len(want) + 1} {
		rest := want[min(off, len(want)):]
		n, err := unix.Pread(fd, buf[:], int64(off))
		if err != nil || !bytes.Equal(buf[:n], rest[:min(len(buf), len(rest))]) {
			t.Errorf("pread of %s at %d: %d bytes, error %v, or other bytes", sysPath, off, n, err)
		}
	}
	if expect.Module == "" {
		return
	}
	// An open descriptor does not pin the module.
	if err := unload(); err != nil {
		t.Fatalf("unload: %v, want success", err)
	}
	if n, err := unix.Pread(fd, buf[:], 0); !errors.Is(err, unix.ENODEV) {
		t.Errorf("read of %s after the unload: %d bytes, error %v; want %v", sysPath, n, err, unix.ENODEV)
	}
	absent(t)
}

// TestSysfsOff checks that with sysfs=0 there is no file in /sys.
func TestSysfsOff(t *testing.T) {
	begin(t)
	unloaded(t)
	if err := insmod.Load(expect.Module, "sysfs=0"); err != nil {
		t.Fatal(err)
	}
	intact(t, stat(t))
	sysfsSays(t, "N")
	if !expect.SysfsTaken {
		var st unix.Stat_t
		if err := unix.Lstat(sysPath, &st); !errors.Is(err, unix.ENOENT) {
			t.Errorf("stat %s: %v, want %v", sysPath, err, unix.ENOENT)
		}
	}
	if err := unload(); err != nil {
		t.Fatalf("unload: %v", err)
	}
	absent(t)
}

// TestSysfsTaken checks that our module does not change the kernel's own file in
// /sys.
func TestSysfsTaken(t *testing.T) {
	begin(t)
	if !expect.SysfsTaken {
		t.Skip("not-applicable: the kernel has no kheaders of its own built in")
	}
	if expect.Module != "" {
		unloaded(t)
	}
	own := sysfsFile(t)
	if bytes.Equal(own, content(t)) {
		t.Error("the kernel's own archive is the same as ours: this proves nothing")
	}
	sysfsSays(t, "N")
	if !bytes.Equal(sysfsFile(t), own) {
		t.Errorf("%s changed when the module was loaded", sysPath)
	}
	if expect.Module == "" {
		return
	}
	if err := unload(); err != nil {
		t.Fatalf("unload: %v", err)
	}
	absent(t)
	if !bytes.Equal(sysfsFile(t), own) {
		t.Errorf("%s changed when the module was unloaded", sysPath)
	}
}

// sysfsFile returns the content of the file in /sys.
func sysfsFile(t *testing.T) []byte {
	t.Helper()
	content := readAll(t, openFile(t, sysPath), sysPath)
	if !bytes.HasPrefix(content, []byte("\xfd7zXZ\x00")) {
		t.Errorf("%s begins with %x, as no xz file does", sysPath, content[:min(6, len(content))])
	}
	return content
}

// sysfsSays checks what the module says about its file in /sys.
func sysfsSays(t *testing.T, want string) {
	t.Helper()
	if expect.Module == "" {
		return // built in, it has another name
	}
	if got := strings.TrimSpace(readFile(t, "/sys/module/"+module+"/parameters/sysfs")); got != want {
		t.Errorf("the parameter sysfs is %s, want %s", got, want)
	}
}
