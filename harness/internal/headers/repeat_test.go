// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPackIsReproducible packs trees with the same content in different places,
// with different modes and times, under a different umask, and with an
// environment that tells xz to work differently.
func TestPackIsReproducible(t *testing.T) {
	for _, name := range Compressors() {
		t.Run(name, func(t *testing.T) {
			grown := func() Options {
				opts := smallTree(t)
				if name == "xz" {
					grow(t, opts)
				}
				opts.Compressor = name
				return opts
			}
			opts := grown()
			first, err := packed(t, opts)
			if err != nil {
				t.Fatal(err)
			}
			other := grown()
			err = filepath.WalkDir(other.Source, func(p string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				return errors.Join(os.Chmod(p, 0o600), os.Chtimes(p, time.Now(), time.Unix(1, 0)))
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Setenv("XZ_OPT", "-9 --check=none")
			t.Setenv("XZ_DEFAULTS", "--threads=1")
			t.Setenv("LC_ALL", "de_DE.UTF-8")
			t.Setenv("TZ", "Asia/Tokyo")
			t.Setenv("GOMAXPROCS", "1")
			defer unix.Umask(unix.Umask(0o077))
			second, err := packed(t, other)
			if err != nil {
				t.Fatal(err)
			}
			if first.SHA256 != second.SHA256 {
				t.Errorf("%s, then %s", first.SHA256, second.SHA256)
			}
			// The comparison must be able to fail. The date is in the tar, so once
			// is enough.
			if name == "xz" {
				return
			}
			t.Setenv("SOURCE_DATE_EPOCH", "1")
			third, err := packed(t, other)
			if err != nil {
				t.Fatal(err)
			}
			if first.SHA256 == third.SHA256 {
				t.Error("another date was not seen")
			}
		})
	}
}

func TestPackReplaces(t *testing.T) {
	opts := smallTree(t)
	opts.Compressor = "go"
	put(t, opts.Output, "an older one")
	if _, err := packed(t, opts); err != nil {
		t.Fatal(err)
	}
	if names := left(t, opts); len(names) != 1 {
		t.Errorf("left %v", names)
	}
}
