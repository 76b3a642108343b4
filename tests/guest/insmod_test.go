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

// TestSecondLoad: a second load is refused, and disturbs nothing.
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

// TestTaint: the kernel is tainted by a module from outside its tree, or not
// at all, and by nothing else.
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

// TestReload: the module comes and goes any number of times, always the same.
// It costs its archive and little more, and gives all of that back.
func TestReload(t *testing.T) {
	begin(t)
	cycles := 1 // beside those of the other tests
	if expect.Thorough {
		cycles = 50
	}
	isModule(t)
	loaded(t)
	before := stat(t)
	const page = 4096
	// What a module needs besides the archive: its code and data, and the
	// kernel's copy of its symbols, in pages of their own.
	limit := (expect.Size+page-1)/page + 64<<10/page
	var without []vmalloc.Usage
	for i := range cycles {
		// The mode belongs to the file that goes with the module.
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
		// Since the module was in this state before.
		if left := pages(t).Orphans - with.Orphans; left > 0 {
			t.Errorf("cycle %d left %d pages that nobody can give back", i+1, left)
		}
	}
	if last := without[len(without)-1]; last != without[0] {
		t.Errorf("after %d cycles the kernel uses %+v pages without the module, after the first %+v", cycles, last, without[0])
	}
}

// pages returns the pages that are in use. The part of a module that only its
// loading needs is given back a little later, and waited for.
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

// TestUnloadWhileOpen: an open descriptor does not keep the module. What is
// done with it afterwards fails, and harms nobody.
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

	// The descriptor stays dead when a new module makes a file of that name.
	loaded(t)
	gone(t, fd)
	intact(t, before)
}

// gone checks that a descriptor from before the unloading is dead.
func gone(t *testing.T, fd int) {
	t.Helper()
	var buf [1]byte
	if n, err := unix.Read(fd, buf[:]); !errors.Is(err, unix.EIO) {
		t.Errorf("read after the unload: %d bytes, error %v; want %v", n, err, unix.EIO)
	}
	if n, err := unix.Pread(fd, buf[:], 0); !errors.Is(err, unix.EIO) {
		t.Errorf("pread after the unload: %d bytes, error %v; want %v", n, err, unix.EIO)
	}
	if pos, err := unix.Seek(fd, 0, unix.SEEK_SET); !errors.Is(err, unix.EINVAL) {
		t.Errorf("seek after the unload: %d, error %v; want %v", pos, err, unix.EINVAL)
	}
}

// TestUnloadWhileReading: readers under way get right bytes or a clean error,
// and the unload waits for no more than the calls under way.
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
					return // as promised
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
	stop.Store(err != nil) // only an unload ends them
	readers.Wait()
	if err != nil {
		t.Fatalf("unload: %v, want success", err)
	}
	absent(t)
}

// TestAbsentAfterUnload: unloading leaves nothing behind, in silence.
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
