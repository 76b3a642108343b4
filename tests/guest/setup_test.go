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
	// sysPath has them too, and is where most users look.
	sysPath = "/sys/kernel/kheaders.tar.xz"
	// module is the module's name, in the kernel and for modprobe.
	module = "kheaders"
	// mode is the file's mode, including its type.
	mode = unix.S_IFREG | 0o444
)

var (
	// expect is what the host knows. TestMain sets it.
	expect wire.Expect
	// wholeLog is the kernel's log since before the first test.
	wholeLog *kmsg.Log
)

func TestMain(m *testing.M) {
	if err := readPlan(); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			// This is go test ./... on a host. In a guest it could not hide a
			// failure: the host would miss every test's report.
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

// begin marks on the console where a test begins, so that trouble in the kernel's
// log can be attributed to it. It uses the level of a warning, since anything
// lower does not appear on the console.
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

// isModule skips the test if the headers are built into the kernel, so that there
// is nothing to load or unload.
func isModule(t *testing.T) {
	t.Helper()
	if expect.Module == "" {
		t.Skip("not-applicable: the headers are built into the kernel")
	}
}

// load loads the module and returns the kernel's error.
func load(t *testing.T) error {
	t.Helper()
	return insmod.Load(expect.Module, "")
}

// unload unloads the module as rmmod does, and returns the kernel's error.
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

// isLoaded reports whether the module is in the kernel.
func isLoaded(t *testing.T) bool {
	t.Helper()
	var st unix.Stat_t
	// Built-in code has a directory there too, but no reference count.
	err := unix.Stat("/sys/module/"+module+"/refcnt", &st)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		t.Fatalf("looking for the module: %v", err)
	}
	return err == nil
}

// absent checks that there is no trace of the module.
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

// modulesLine returns the module's line in /proc/modules, or "".
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
	// Leave extra room, to notice a file that is too long.
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

// cached is what content has read.
var cached []byte

// content returns the headers, and loads the module if needed. It reads them only
// once. TestDigest checks them against the host's digest, and the other tests
// compare what they read with them, which is cheaper than hashing again.
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

// intact checks that the file is unchanged, whatever the test has tried on it.
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

// uncalled returns what the kernel should not have logged since the log was last
// read: warnings and anything about the module, but no taint notices and nothing
// that comes in the background anyway. It returns each text once.
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

// logSince returns what the kernel has logged since the log was last read, except
// for the reports that the host tolerates.
func logSince(t *testing.T, l *kmsg.Log) []kmsg.Record {
	t.Helper()
	records, err := l.Read()
	if err != nil {
		t.Fatal(err)
	}
	return kmsg.Without(records, expect.Allowed)
}

// watchLog opens the kernel's log from now on, until the test ends.
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
		// The system calls below only change this thread, which stays locked
		// to the goroutine and so ends with it.
		runtime.LockOSThread()
		for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, errno := unix.RawSyscall(call, nobody, nobody, nobody); errno != 0 {
				done <- errno
				return
			}
		}
		// The rest proves nothing if such a user cannot even open a file here.
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
