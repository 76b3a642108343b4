// SPDX-License-Identifier: BSD-3-Clause

package insmod_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/tests/guest/insmod"
)

func TestErrorSaysWhy(t *testing.T) {
	for errno, want := range map[unix.Errno]string{
		unix.EEXIST:       "rmmod kheaders",
		unix.EKEYREJECTED: "scripts/sign-file",
		unix.ENOEXEC:      "another kernel",
		unix.EOPNOTSUPP:   "CONFIG_MODULE_DECOMPRESS",
	} {
		err := error(&insmod.Error{Path: "/kheaders.ko", Err: errno})
		if text := err.Error(); !strings.Contains(text, want) || !strings.Contains(text, errno.Error()) {
			t.Errorf("%q, want %q and %q in it", text, errno.Error(), want)
		}
		if !errors.Is(err, errno) {
			t.Errorf("%v is not %v", err, errno)
		}
	}
	if got, want := (&insmod.Error{Path: "m.ko", Err: unix.EIO}).Error(), "loading m.ko: input/output error"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLoadNothing(t *testing.T) {
	if err := insmod.Load(filepath.Join(t.TempDir(), "none.ko"), ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want %v", err, fs.ErrNotExist)
	}
}
