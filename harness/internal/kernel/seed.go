// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kheaders/kheaders/harness/internal/run"
)

// seed is another kernel's object tree, and the source that it was built from.
type seed struct{ object, source string }

// findSeed returns the seed that differs least from the kernel, or nil. It looks
// for a kernel of the default profile and, for a patched source, for one of the
// unpatched source. kbuild knows what depends on the difference. The versions of
// the tools are part of the key, so a kernel from another compiler is never a
// seed.
func (b *builder) findSeed() (*seed, error) {
	o := b.BuildOptions
	profiles := []string{o.Profile, DefaultProfile}
	for from := &b.source; from != nil; from = from.unpatched {
		for _, o.Profile = range profiles {
			asked, err := ask(o, from.Version)
			if err != nil {
				return nil, err
			}
			key := b.key(*from, o, asked)
			entry, err := b.store.Find(kernelKind, key)
			if from.tree != nil {
				entry, err = b.store.Current(from.tree.objects(), b.keyOf(from.Dir, "", o, asked), key)
			}
			if err != nil {
				return nil, err
			}
			if entry.Hit {
				return &seed{object: entry.Path(objectName), source: from.Dir}, nil
			}
		}
		// Whatever else was asked for belongs to the patch.
		o.Config, o.Variables, o.Inputs = "", nil, nil
	}
	return nil, nil
}

// plant copies a seed to where a kernel is to be built from source, along with
// its timestamps, because kbuild goes by them. kbuild also goes by the commands
// and prerequisites in .cmd files, so plant replaces the paths in these with
// ours. A path that is wrong or missing only costs time: kbuild rebuilds the
// file. The copy appears whole or not at all.
func (s seed) plant(ctx context.Context, object, source, log string) error {
	partial := object + ".partial"
	err := os.RemoveAll(partial)
	if err == nil {
		err = run.Cmd{Argv: []string{"cp", "-a", "--reflink=auto", s.object, partial}, Log: log}.Run(ctx)
	}
	if err != nil {
		return fmt.Errorf("copying the object tree of another kernel: %w", err)
	}
	err = filepath.WalkDir(partial, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || filepath.Ext(path) != ".cmd" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		moved := bytes.ReplaceAll(text, []byte(s.object), []byte(object))
		moved = bytes.ReplaceAll(moved, []byte(s.source), []byte(source))
		if bytes.Equal(moved, text) {
			return nil
		}
		return os.WriteFile(path, moved, 0o644)
	})
	if err == nil {
		err = os.Rename(partial, object)
	}
	if err != nil {
		return fmt.Errorf("moving the object tree of another kernel: %w", err)
	}
	return nil
}

// plant makes the object tree, as a copy of a seed if there is one.
func (b *builder) plant(ctx context.Context, m maker) error {
	from, err := b.findSeed()
	if err != nil {
		return err
	}
	if from != nil {
		return from.plant(ctx, m.object, m.source, m.log)
	}
	if err := os.Mkdir(m.object, 0o755); err != nil {
		return fmt.Errorf("making the object tree: %w", err)
	}
	return nil
}
