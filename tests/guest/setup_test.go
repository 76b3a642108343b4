// SPDX-License-Identifier: BSD-3-Clause

package guest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/initramfs/wire"
	"github.com/kheaders/kheaders/tests/guest/insmod"
	"github.com/kheaders/kheaders/tests/guest/kmsg"
)

const (
	// path is where the headers are.
	path = "/proc/kheaders.tar.xz"
	// sysPath is where they are as well, and where most users look.
	sysPath = "/sys/kernel/kheaders.tar.xz"
	// module is the module's name in the kernel, and what modprobe is given.
	module = "kheaders"
	// mode is the file's mode, type included.
	mode = unix.S_IFREG | 0o444
)

var (
	// expect is what the host knows. TestMain sets it.
	expect wire.Expect
	// wholeLog is the kernel's log from before the first test on.
	wholeLog *kmsg.Log
)

func TestMain(m *testing.M) {
	if err := readPlan(); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			// go test ./... on a host. In a guest the same would be seen: the
			// host misses the report of every test.
			fmt.Println("nothing tested: these tests run inside the guest, see make qemu-test")
			os.Exit(0)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	var err error
	if wholeLog, err = kmsg.OpenEnd(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// begin marks on the console where a test begins, so that trouble in the
// kernel's log can be told to be its own. The level is that of a warning: less
// is not shown on the console.
func begin(t *testing.T) {
	t.Helper()
	if err := os.WriteFile("/dev/kmsg", []byte("<4>"+wire.ConsoleMarker+" "+t.Name()+"\n"), 0); err != nil {
		t.Errorf("marking the console: %v", err)
	}
}

func readPlan() error {
	b, err := os.ReadFile(wire.PlanPath)
	if err != nil {
		return fmt.Errorf("reading the plan: %w", err)
	}
	var plan wire.Plan
	if err := json.Unmarshal(b, &plan); err != nil {
		return fmt.Errorf("reading the plan %s: %w", wire.PlanPath, err)
	}
	expect = plan.Expect
	return nil
}

// isModule skips the test when the headers are built into the kernel, where
// loading and unloading have no meaning.
func isModule(t *testing.T) {
	t.Helper()
	if expect.Module == "" {
		t.Skip("not-applicable: the headers are built into the kernel")
	}
}

// load loads the module and returns what the kernel says.
func load(t *testing.T) error {
	t.Helper()
	return insmod.Load(expect.Module, "")
}

// unload unloads the module as rmmod does, and returns what the kernel says.
func unload() error { return insmod.Unload(module) }

// loaded makes sure that the headers are there.
func loaded(t *testing.T) {
	t.Helper()
	if expect.Module == "" || isLoaded(t) {
		return
	}
	if err := load(t); err != nil {
		t.Fatal(err)
	}
}

// unloaded makes sure that the module is not loaded.
func unloaded(t *testing.T) {
	t.Helper()
	isModule(t)
	if !isLoaded(t) {
		return
	}
	if err := unload(); err != nil {
		t.Fatalf("unloading %s: %v", module, err)
	}
}

// isLoaded tells whether the module is in the kernel.
func isLoaded(t *testing.T) bool {
	t.Helper()
	var st unix.Stat_t
	// Built-in code has a directory there as well, but no reference count.
	err := unix.Stat("/sys/module/"+module+"/refcnt", &st)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		t.Fatalf("looking for the module: %v", err)
	}
	return err == nil
}

// absent checks that nothing of the module is to be seen.
func absent(t *testing.T) {
	t.Helper()
	names := []string{path, "/sys/module/" + module}
	if !expect.SysfsTaken {
		names = append(names, sysPath)
	}
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); !errors.Is(err, unix.ENOENT) {
			t.Errorf("stat %s: %v, want %v", name, err, unix.ENOENT)
		}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Errorf("listing /proc: %v", err)
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), module) {
			t.Errorf("/proc lists %s", e.Name())
		}
	}
	if line := modulesLine(t); line != "" {
		t.Errorf("/proc/modules has %q", line)
	}
}

// modulesLine returns the module's line in /proc/modules, or nothing.
func modulesLine(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(readFile(t, "/proc/modules")) {
		if strings.HasPrefix(line, module+" ") {
			return line
		}
	}
	return ""
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// open opens the headers for reading until the test ends.
func open(t *testing.T) int {
	t.Helper()
	return openFile(t, path)
}

// openFile opens a file for reading until the test ends.
func openFile(t *testing.T, name string) int {
	t.Helper()
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("opening %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := unix.Close(fd); err != nil {
			t.Errorf("closing %s: %v", name, err)
		}
	})
	return fd
}

// readAll reads an open file to its end.
func readAll(t *testing.T, fd int, name string) []byte {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatalf("stat %s: %v", name, err)
	}
	// Room for more than there should be, to see a file that is too long.
	buf := make([]byte, st.Size+4096)
	n := 0
	for n < len(buf) {
		m, err := unix.Read(fd, buf[n:])
		if err != nil {
			t.Fatalf("reading %s at %d: %v", name, n, err)
		}
		if m == 0 {
			break
		}
		n += m
	}
	return buf[:n]
}

// cached is what content read.
var cached []byte

// content returns the headers, loading the module where needed. They are read
// once; TestDigest holds them against the host's digest, and other tests
// compare what they read with them, which is cheaper than to hash again.
func content(t *testing.T) []byte {
	t.Helper()
	loaded(t)
	if cached != nil {
		return cached
	}
	read := readAll(t, open(t), path)
	if len(read) < 4096 {
		t.Fatalf("%s has %d bytes, too few to test with; want %d", path, len(read), expect.Size)
	}
	cached = read
	return cached
}

// stat returns the file's status.
func stat(t *testing.T) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("stat %s: %v", path, err)
	}
	return st
}

// intact checks that the file is still what it was: what was tried on it, if
// anything, has left no trace.
func intact(t *testing.T, before unix.Stat_t) {
	t.Helper()
	want := content(t)
	st := stat(t)
	if st.Mode != before.Mode || st.Uid != before.Uid || st.Gid != before.Gid || st.Size != before.Size {
		t.Errorf("afterwards the file has mode %#o, owner %d:%d, %d bytes; want %#o, %d:%d, %d as before",
			st.Mode, st.Uid, st.Gid, st.Size, before.Mode, before.Uid, before.Gid, before.Size)
	}
	fd := open(t)
	var buf [4096]byte
	for _, off := range []int{0, len(want) - len(buf)} {
		n, err := unix.Pread(fd, buf[:], int64(off))
		if err != nil || !bytes.Equal(buf[:n], want[off:off+len(buf)]) {
			t.Errorf("afterwards a read of %d bytes at %d gives %d bytes, error %v, or other bytes", len(buf), off, n, err)
		}
	}
}

// uncalled filters what the kernel has said since the log was read last: it
// leaves what is no taint notice, may well have to do with the tests, and
// should not have been said. Each text is left once.
func uncalled(t *testing.T, l *kmsg.Log) []kmsg.Record {
	t.Helper()
	var left []kmsg.Record
	for _, r := range logSince(t, l) {
		if r.TaintNotice(module) || r.Background() || (r.Level > kmsg.Warning && !strings.Contains(r.Text, module)) {
			continue
		}
		if !slices.ContainsFunc(left, func(l kmsg.Record) bool { return l.Text == r.Text }) {
			left = append(left, r)
		}
	}
	return left
}

// logSince returns what the kernel has said since the log was read last, but for
// the reports that the host lets pass.
func logSince(t *testing.T, l *kmsg.Log) []kmsg.Record {
	t.Helper()
	records, err := l.Read()
	if err != nil {
		t.Fatal(err)
	}
	return kmsg.Without(records, expect.Allowed)
}

// watchLog returns the kernel's log from now on, until the test ends.
func watchLog(t *testing.T) *kmsg.Log {
	t.Helper()
	l, err := kmsg.OpenEnd()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("closing the kernel log: %v", err)
		}
	})
	return l
}

// asNobody runs f with the rights of an ordinary user.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	const nobody = 65534
	done := make(chan error)
	go func() {
		defer close(done)
		// The system calls below change this thread alone, and the thread
		// ends with the goroutine, since it stays locked to it.
		runtime.LockOSThread()
		for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, errno := unix.RawSyscall(call, nobody, nobody, nobody); errno != 0 {
				done <- errno
				return
			}
		}
		// What follows proves nothing if such a user can not even get here.
		fd, err := unix.Open("/proc/version", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- fmt.Errorf("opening /proc/version: %w", err)
			return
		}
		if err := unix.Close(fd); err != nil {
			done <- err
			return
		}
		f()
	}()
	if err := <-done; err != nil {
		t.Fatalf("as an ordinary user: %v", err)
	}
}
