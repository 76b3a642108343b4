// SPDX-License-Identifier: BSD-3-Clause

package guest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLeaks checks with kmemleak that loading and unloading leave nothing behind.
// TestReload counts pages, so it misses anything smaller.
func TestLeaks(t *testing.T) {
	begin(t)
	isModule(t)
	file := kmemleak(t)
	scan := func() string {
		t.Helper()
		// kmemleak reports an object only if two scans in a row find it
		// unreferenced and unchanged.
		for range 2 {
			if err := os.WriteFile(file, []byte("scan"), 0); err != nil {
				t.Fatal(err)
			}
		}
		return readFile(t, file)
	}
	if early := scan(); early != "" {
		t.Logf("before this test: %s", early)
		if err := os.WriteFile(file, []byte("clear"), 0); err != nil {
			t.Fatal(err)
		}
	}
	loaded(t)
	if err := unload(); err != nil {
		t.Fatalf("unload: %v", err)
	}
	// It skips objects younger than 5 s (MSECS_MIN_AGE in mm/kmemleak.c).
	time.Sleep(5100 * time.Millisecond)
	if found := scan(); found != "" {
		t.Log(found)
		t.Errorf("kmemleak has found %d objects that loading and unloading has left behind", strings.Count(found, "unreferenced object"))
	}
}

// kmemleak returns kmemleak's control file. It skips the test if there is none.
func kmemleak(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("debugfs", dir, "debugfs", 0, "")
	if err == nil {
		t.Cleanup(func() {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Errorf("unmounting debugfs: %v", err)
			}
		})
	} else if !errors.Is(err, unix.ENODEV) {
		t.Fatalf("mounting debugfs: %v", err)
	}
	file := filepath.Join(dir, "kmemleak")
	var st unix.Stat_t
	if err := unix.Stat(file, &st); errors.Is(err, unix.ENOENT) {
		t.Skip("not-applicable: the kernel has no kmemleak")
	} else if err != nil {
		t.Fatal(err)
	}
	return file
}
