// SPDX-License-Identifier: BSD-3-Clause

package guest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/tests/guest/insmod"
	"github.com/kheaders/kheaders/tests/guest/kmsg"
)

// TestBesideOwnModule checks that the kernel refuses our module while its own
// kheaders.ko is loaded, which has the same name, and that the error says why.
func TestBesideOwnModule(t *testing.T) {
	begin(t)
	if expect.OwnModule == "" {
		t.Skip("not-applicable: the kernel has no kheaders.ko of its own")
	}
	unloaded(t)
	if err := insmod.Load(expect.OwnModule, ""); err != nil {
		t.Fatalf("the kernel's own: %v", err)
	}
	log := watchLog(t)
	err := load(t)
	if !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), "CONFIG_IKHEADERS=m") {
		t.Errorf("loading ours beside the kernel's: %v; want %v and an explanation", err, unix.EEXIST)
	}
	for _, r := range uncalled(t, log) {
		t.Errorf("the kernel said %q, want nothing", r)
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); !errors.Is(err, unix.ENOENT) {
		t.Errorf("stat %s: %v, want %v", path, err, unix.ENOENT)
	}
	own := sysfsFile(t)
	if err := unload(); err != nil {
		t.Fatalf("unloading the kernel's own: %v", err)
	}
	absent(t)
	// With that unloaded, ours provides both files.
	loaded(t)
	if string(own) == string(content(t)) {
		t.Error("the kernel's own archive is the same as ours: this proves nothing")
	}
	intact(t, stat(t))
	sysfsSays(t, "Y")
}

// TestUnsignedRefused checks that a kernel that requires signatures refuses the
// module without one, says so, and keeps no trace of it.
func TestUnsignedRefused(t *testing.T) {
	begin(t)
	if expect.Unsigned == "" {
		t.Skip("not-applicable: the kernel loads unsigned modules")
	}
	unloaded(t)
	log := watchLog(t)
	err := insmod.Load(expect.Unsigned, "")
	if !errors.Is(err, unix.EKEYREJECTED) || !strings.Contains(err.Error(), "sign-file") {
		t.Errorf("loading the unsigned module: %v; want %v and an explanation", err, unix.EKEYREJECTED)
	}
	if !said(t, log, "unsigned module is rejected") {
		t.Error("the kernel did not say that it rejects an unsigned module")
	}
	absent(t)
	loaded(t)
	if flags := strings.TrimSpace(readFile(t, "/sys/module/"+module+"/taint")); flags != "O" {
		t.Errorf("the signed module's taint flags are %q, want O", flags)
	}
}

// said reports whether the kernel has logged a text since the log was last read.
func said(t *testing.T, log *kmsg.Log, text string) bool {
	t.Helper()
	return slices.ContainsFunc(logSince(t, log), func(r kmsg.Record) bool { return strings.Contains(r.Text, text) })
}

// TestCompressed checks that the kernel can decompress the module itself, and
// that it serves the same file.
func TestCompressed(t *testing.T) {
	begin(t)
	if expect.Compressed == "" {
		t.Skip("not-applicable: the kernel does not decompress modules")
	}
	loaded(t)
	before := stat(t)
	unloaded(t)
	if err := insmod.Load(expect.Compressed, ""); err != nil {
		t.Fatal(err)
	}
	intact(t, before)
	if err := unload(); err != nil {
		t.Fatalf("unload: %v", err)
	}
	absent(t)
}
