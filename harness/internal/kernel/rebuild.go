// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/target"
)

// rebuild brings the object tree of a user's tree up to date. Make does that, and
// can be trusted with it: in our copy, times tell the truth.
func (b *builder) rebuild(ctx context.Context, dir string, earlier cache.Earlier) ([]string, error) {
	m, err := b.maker(dir)
	if err != nil {
		return nil, err
	}
	if !earlier.Torn.IsZero() {
		b.Progress("making again what an interrupted build has written")
		if err := removeSince(m.object, earlier.Torn); err != nil {
			return nil, fmt.Errorf("clearing what an interrupted build has written: %w", err)
		}
	}
	if _, err := os.Lstat(m.object); errors.Is(err, fs.ErrNotExist) {
		if err := b.plant(ctx, m); err != nil {
			return nil, diskFull(err, dir)
		}
	}
	if err := b.reconfigure(ctx, m, dir); err != nil {
		return nil, diskFull(err, dir)
	}
	return b.finish(ctx, m, dir)
}

// removeSince removes the files of an object tree that were written at a time or
// later. It leaves include/config alone: kbuild writes those files whole, and the
// time of one that it has touched is what makes it build anything anew.
func removeSince(object string, since time.Time) error {
	return filepath.WalkDir(object, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == object {
			return nil
		}
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if path == filepath.Join(object, "include/config") {
				return fs.SkipDir
			}
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &fs.PathError{Op: "stat", Path: path, Err: err}
		}
		written := st.Ctim
		if strings.Contains(path, "/include/generated") {
			written = st.Mtim // regenerate moves these
		}
		if written.Nano() < since.UnixNano() {
			return nil
		}
		return os.Remove(path)
	})
}

// askedName is the file that has the digest of what a configuration follows from.
const askedName = "config.from"

// reconfigure configures the kernel, if anything has changed that a configuration
// may follow from, or which headers are generated: the names of all files, too, since
// kbuild wraps those headers that an architecture does not have.
func (b *builder) reconfigure(ctx context.Context, m maker, dir string) error {
	files := b.source.tree.files
	from := files.Digest(shapesConfig) + files.Names(func(name string) bool { return !strings.HasPrefix(name, documentation) })
	if b.source.unpatched != nil {
		_, patch, _ := strings.Cut(b.source.Key, "+")
		from += patch
	}
	current := func() bool {
		old, err := os.ReadFile(filepath.Join(dir, askedName))
		if err != nil || string(old) != from {
			return false
		}
		config, err := os.ReadFile(filepath.Join(dir, configName))
		if err != nil {
			return false
		}
		now, err := os.ReadFile(filepath.Join(m.object, ".config"))
		return err == nil && bytes.Equal(now, config)
	}
	if current() {
		return nil
	}
	config, err := m.regenerate(ctx, b.Target, func() ([]byte, error) { return m.configure(ctx, b.asked, b.User) }, "-j"+strconv.Itoa(b.Jobs))
	if err != nil {
		return err
	}
	err = os.WriteFile(filepath.Join(dir, configName), config, 0o644)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, askedName), []byte(from), 0o644)
	}
	if err != nil {
		return fmt.Errorf("saving the configuration: %w", err)
	}
	return nil
}

// documentation is where the files are that no build reads, except for Kconfig's.
const documentation = "Documentation/"

// shapesConfig reports whether a file may have a part in the configuration, or in
// which headers are generated. It says yes too often: that costs some calls of
// make.
func shapesConfig(name string) bool {
	if strings.HasPrefix(name, documentation) {
		return strings.HasPrefix(filepath.Base(name), "Kconfig")
	}
	switch filepath.Ext(name) {
	case ".c", ".h", ".S", ".dts", ".dtsi", ".rst":
		return strings.HasPrefix(name, "scripts/")
	}
	return true
}

// regenerate configures an object tree and generates its headers. Kbuild generates
// headers in place and never removes one that the sources stopped asking for, which
// would stay in the archive. So the old ones are put aside, and each that comes out
// the same gets its old time back, so that nothing that includes it is built anew.
func (m maker) regenerate(ctx context.Context, t target.Target, configure func() ([]byte, error), jobs string) (config []byte, err error) {
	var dirs []string
	for _, dir := range []string{"include/generated", filepath.Join("arch", t.SrcArch, "include/generated")} {
		dir = filepath.Join(m.object, dir)
		if err := takeBack(dir, true); err != nil { // from an interrupted build
			return nil, err
		}
		switch err := os.Rename(dir, dir+asideSuffix); {
		case err == nil:
			dirs = append(dirs, dir)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("putting the generated headers aside: %w", err)
		}
	}
	defer func() {
		for _, dir := range dirs {
			if terr := takeBack(dir, err != nil); terr != nil {
				err = errors.Join(err, fmt.Errorf("comparing the generated headers: %w", terr))
			}
		}
	}()
	if config, err = configure(); err != nil || len(dirs) == 0 {
		return config, err
	}
	return config, failed(m.make(ctx, jobs, "prepare"))
}

// asideSuffix is added to the name of a directory that is put aside.
const asideSuffix = ".aside"

// takeBack moves back the files that were put aside, if the new ones are the same.
// With missing, it also moves back those that have no new one. It removes the
// others.
func takeBack(dir string, missing bool) error {
	aside := dir + asideSuffix
	err := filepath.WalkDir(aside, func(from string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && from == aside {
			return fs.SkipAll
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(aside, from)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, name)
		before, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		after, err := os.ReadFile(to)
		switch gone := errors.Is(err, fs.ErrNotExist); {
		case err != nil && !gone:
			return err
		case gone && !missing, !gone && !bytes.Equal(before, after):
			return nil
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.Rename(from, to)
	})
	return errors.Join(err, os.RemoveAll(aside))
}
