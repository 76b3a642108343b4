// SPDX-License-Identifier: BSD-3-Clause

// Package guest measures inside a guest what a kheaders module costs: ours, and
// the kernel's own with the same archive. It only reports facts; the host judges
// them.
package guest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/initramfs/wire"
	"github.com/kheaders/kheaders/tests/guest/insmod"
)

const (
	name     = "kheaders"
	procPath = "/proc/kheaders.tar.xz"
	sysPath  = "/sys/kernel/kheaders.tar.xz"
	// cycles is how often each module is loaded and unloaded.
	cycles = 50
	// reads is how often each file is read with each buffer.
	reads = 5
)

// TestBench is a test so that the harness boots and judges it like any other.
func TestBench(t *testing.T) {
	text, err := os.ReadFile(wire.PlanPath)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("this runs inside the guest, see make bench-module")
	}
	if err != nil {
		t.Fatal(err)
	}
	var plan wire.Plan
	if err := json.Unmarshal(text, &plan); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"ours": plan.Expect.Module, "own": plan.Expect.OwnModule}
	served := map[string]string{"ours": procPath, "own": sysPath}

	// Alternate between them, since a machine's speed drifts.
	loads, unloads := map[string][]float64{}, map[string][]float64{}
	for range cycles {
		for _, which := range []string{"ours", "own"} {
			start := time.Now()
			if err := insmod.Load(files[which], ""); err != nil {
				t.Fatal(err)
			}
			loads[which] = append(loads[which], time.Since(start).Seconds())
			start = time.Now()
			if err := insmod.Unload(name); err != nil {
				t.Fatal(err)
			}
			unloads[which] = append(unloads[which], time.Since(start).Seconds())
		}
	}
	for _, which := range []string{"ours", "own"} {
		fact := func(key, format string, args ...any) { t.Attr(which+"_"+key, fmt.Sprintf(format, args...)) }
		fact("load", "%g", median(loads[which]))
		fact("unload", "%g", median(unloads[which]))

		before := vmallocUsed(t)
		if err := insmod.Load(files[which], ""); err != nil {
			t.Fatal(err)
		}
		fact("vmalloc", "%d", vmallocUsed(t)-before)
		fact("size", "%d", moduleSize(t))
		for _, buffer := range []int{4 << 10, 64 << 10, 1 << 20} {
			var seconds []float64
			var calls int
			var total int64
			for range reads {
				start := time.Now()
				calls, total = readWhole(t, served[which], buffer, nil)
				seconds = append(seconds, time.Since(start).Seconds())
			}
			if total != plan.Expect.Size {
				t.Errorf("%s has %d bytes, want %d", served[which], total, plan.Expect.Size)
			}
			fact(fmt.Sprintf("calls_%d", buffer), "%d", calls)
			fact(fmt.Sprintf("rate_%d", buffer), "%g", float64(total)/median(seconds))
		}
		// Both must have the same archive, and the host wants proof of ours.
		h := sha256.New()
		readWhole(t, served[which], 1<<20, func(b []byte) { h.Write(b) })
		if sum := hex.EncodeToString(h.Sum(nil)); which == "ours" {
			t.Attr("sha256", sum)
		} else if sum != plan.Expect.SHA256 {
			t.Errorf("the kernel's own has sha256 %s, want %s", sum, plan.Expect.SHA256)
		}
		if err := insmod.Unload(name); err != nil {
			t.Fatal(err)
		}
		fact("left", "%d", vmallocUsed(t)-before)
	}
}

// readWhole reads a file to its end. It returns the number of calls, including
// the last one, which returns nothing.
func readWhole(t *testing.T, path string, buffer int, each func([]byte)) (calls int, total int64) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("opening %s: %v", path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, buffer)
	for {
		n, err := unix.Read(fd, buf)
		calls++
		if err != nil {
			t.Fatalf("reading %s: %v", path, err)
		}
		if n == 0 {
			return calls, total
		}
		total += int64(n)
		if each != nil {
			each(buf[:n])
		}
	}
}

// vmallocUsed returns the bytes that the kernel has mapped page by page. The kernel
// frees the part of a module that is only needed for loading a little later, so
// vmallocUsed waits for the number to settle.
func vmallocUsed(t *testing.T) int64 {
	t.Helper()
	last := int64(-1)
	for range 100 {
		n := field(t, "/proc/meminfo", "VmallocUsed:", 1) << 10
		if n == last {
			return n
		}
		last = n
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("VmallocUsed does not come to rest")
	return 0
}

// moduleSize returns the module's size in /proc/modules.
func moduleSize(t *testing.T) int64 {
	t.Helper()
	return field(t, "/proc/modules", name, 1)
}

// field returns a number from the line of a file that starts with word.
func field(t *testing.T, path, word string, at int) int64 {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > at && fields[0] == word {
			n, err := strconv.ParseInt(fields[at], 10, 64)
			if err != nil {
				t.Fatalf("%s: %q: %v", path, line, err)
			}
			return n
		}
	}
	t.Fatalf("%s has no %s", path, word)
	return 0
}

func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
