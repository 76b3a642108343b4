// SPDX-License-Identifier: BSD-3-Clause

package guest

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/tests/guest/vmalloc"
)

// TestSecondLoad checks that the kernel refuses a second load, and that this
// disturbs nothing.
func TestSecondLoad(t *testing.T) {
	begin(t)
	isModule(t)
	loaded(t)
	before := stat(t)
	log := watchLog(t)
	if err := load(t); !errors.Is(err, unix.EEXIST) {
		t.Errorf("second load: %v, want %v", err, unix.EEXIST)
	}
	for _, r := range uncalled(t, log) {
		t.Errorf("the kernel said %q, want nothing", r)
	}
	intact(t, before)
}

// TestTaint checks that nothing taints the kernel, except that our module is out
// of tree and perhaps unsigned.
func TestTaint(t *testing.T) {
	begin(t)
	loaded(t)
	const (
		outOfTree = 1 << 12 // TAINT_OOT_MODULE
		unsigned  = 1 << 13 // TAINT_UNSIGNED_MODULE
	)
	text := strings.TrimSpace(readFile(t, "/proc/sys/kernel/tainted"))
	got, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("/proc/sys/kernel/tainted: %v", err)
	}
	t.Attr("tainted", text)
	if expect.Module == "" {
		if got != 0 {
			t.Errorf("tainted %d, want 0", got)
		}
		return
	}
	if got&outOfTree == 0 || got&^(outOfTree|unsigned) != 0 {
		t.Errorf("tainted %d, want %d or %d", got, outOfTree, outOfTree|unsigned)
	}
	if flags := strings.TrimSpace(readFile(t, "/sys/module/"+module+"/taint")); flags != "O" && flags != "OE" {
		t.Errorf("the module's taint flags are %q, want O or OE", flags)
	}
}

// TestReload loads and unloads the module many times, always with the same
// result. The module must take little more memory than its archive, and free all
// of it.
func TestReload(t *testing.T) {
	begin(t)
	cycles := 1 // the other tests add some
	if expect.Thorough {
		cycles = 50
	}
	isModule(t)
	loaded(t)
	before := stat(t)
	const page = 4096
	// The 64 KiB are for the module's code and data and for the kernel's copy of
	// its symbols, which have pages of their own.
	limit := (expect.Size+page-1)/page + 64<<10/page
	var without []vmalloc.Usage
	for i := range cycles {
		// The mode must not outlive the file, which goes with the module.
		if err := unix.Chmod(path, 0); err != nil {
			t.Errorf("chmod in cycle %d: %v", i+1, err)
		}
		with := pages(t)
		if err := unload(); err != nil {
			t.Fatalf("unload %d: %v", i+1, err)
		}
		absent(t)
		without = append(without, pages(t))
		if err := load(t); err != nil {
			t.Fatalf("load %d: %v", i+1, err)
		}
		intact(t, before)
		cost := with.Modules - without[i].Modules
		if i == 0 {
			t.Attr("module_pages", strconv.FormatInt(cost, 10))
		}
		if cost < expect.Size/page || cost > limit {
			t.Errorf("unload %d gave back %d pages, want %d to %d", i+1, cost, expect.Size/page, limit)
		}
		// Compare with the last time that the module was loaded.
		if left := pages(t).Orphans - with.Orphans; left > 0 {
			t.Errorf("cycle %d left %d pages that nobody can give back", i+1, left)
		}
	}
	if last := without[len(without)-1]; last != without[0] {
		t.Errorf("after %d cycles the kernel uses %+v pages without the module, after the first %+v", cycles, last, without[0])
	}
}

// pages returns the pages in use. The kernel frees the part of a module that is
// only needed for loading a little later, so pages waits for the number to settle.
func pages(t *testing.T) vmalloc.Usage {
	t.Helper()
	last := vmalloc.Usage{Modules: -1}
	for range 20 {
		n, err := vmalloc.Read()
		if err != nil {
			t.Fatal(err)
		}
		if n == last {
			return n
		}
		last = n
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%s does not come to rest", vmalloc.File)
	return last
}

// TestUnloadWhileOpen checks that an open descriptor does not pin the module, and
// that using it afterwards fails cleanly.
func TestUnloadWhileOpen(t *testing.T) {
	begin(t)
	isModule(t)
	loaded(t)
	before := stat(t)
	fd := open(t)
	var buf [4096]byte
	if n, err := unix.Read(fd, buf[:]); err != nil || n != len(buf) {
		t.Fatalf("read: %d bytes, error %v; want %d", n, err, len(buf))
	}
	if err := unload(); err != nil {
		t.Fatalf("unload: %v, want success", err)
	}
	gone(t, fd)
	if err := openClose(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY); !errors.Is(err, unix.ENOENT) {
		t.Errorf("opening the descriptor anew: %v, want %v", err, unix.ENOENT)
	}
	absent(t)

	// The descriptor stays dead when the module, loaded again, creates a new file
	// of that name.
	loaded(t)
	gone(t, fd)
	intact(t, before)
}

// nowhere opens a file for writing that takes everything.
func nowhere(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// gone checks that a descriptor from before the unload is dead.
func gone(t *testing.T, fd int) {
	t.Helper()
	var buf [1]byte
	if n, err := unix.Read(fd, buf[:]); !errors.Is(err, unix.EIO) {
		t.Errorf("read after the unload: %d bytes, error %v; want %v", n, err, unix.EIO)
	}
	if n, err := unix.Pread(fd, buf[:], 0); !errors.Is(err, unix.EIO) {
		t.Errorf("pread after the unload: %d bytes, error %v; want %v", n, err, unix.EIO)
	}
	if n, err := unix.Sendfile(nowhere(t), fd, nil, 4096); !errors.Is(err, unix.EIO) {
		t.Errorf("sendfile after the unload: %d bytes, error %v; want %v", n, err, unix.EIO)
	}
	if pos, err := unix.Seek(fd, 0, unix.SEEK_SET); !errors.Is(err, unix.EINVAL) {
		t.Errorf("seek after the unload: %d, error %v; want %v", pos, err, unix.EINVAL)
	}
}

// TestUnloadWhileReading checks that readers get the right bytes or a clean error
// during an unload, and that the unload only waits for calls in flight.
func TestUnloadWhileReading(t *testing.T) {
	begin(t)
	isModule(t)
	want := content(t)
	var readers, reading sync.WaitGroup
	var stop atomic.Bool
	for _, chunk := range []int{4096, 65537, 1 << 20} {
		fd := open(t)
		reading.Add(1)
		readers.Go(func() {
			started := sync.OnceFunc(reading.Done)
			defer started()
			buf := make([]byte, min(chunk, len(want)))
			for off := 0; !stop.Load(); off = (off + chunk) % len(want) {
				n, err := unix.Pread(fd, buf, int64(off))
				if errors.Is(err, unix.EIO) {
					return // the module is unloaded
				}
				if err != nil || !bytes.Equal(buf[:n], want[off:min(off+chunk, len(want))]) {
					t.Errorf("pread of %d bytes at %d: %d bytes, error %v, or other bytes", chunk, off, n, err)
					return
				}
				started()
			}
		})
	}
	reading.Wait()
	err := unload()
	stop.Store(err != nil) // otherwise the unload stops them
	readers.Wait()
	if err != nil {
		t.Fatalf("unload: %v, want success", err)
	}
	absent(t)
}

// TestAbsentAfterUnload checks that unloading prints nothing and leaves nothing
// behind.
func TestAbsentAfterUnload(t *testing.T) {
	begin(t)
	isModule(t)
	loaded(t)
	log := watchLog(t)
	if err := unload(); err != nil {
		t.Fatalf("unload: %v", err)
	}
	absent(t)
	for _, r := range uncalled(t, log) {
		t.Errorf("the unload printed %q, want nothing", r)
	}
	if err := unload(); !errors.Is(err, unix.ENOENT) {
		t.Errorf("second unload: %v, want %v", err, unix.ENOENT)
	}
}
