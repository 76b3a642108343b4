// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/run"
)

// seed is another kernel's object tree, and the source that it was built from.
type seed struct{ object, source string }

// findSeed returns the seed that differs least from the kernel of these
// options, or nil. It looks for a kernel of the default profile and, for a
// patched source, for one of the unpatched source. kbuild knows what depends on
// the difference. The versions of the tools are part of keyOf's result, so a
// kernel from another compiler is never a seed.
func findSeed(store cache.Store, source Source, o BuildOptions, keyOf func(Source, BuildOptions, []request) cache.Key) (*seed, error) {
	profiles := []string{o.Profile, DefaultProfile}
	for from := &source; from != nil; from = from.unpatched {
		for _, o.Profile = range profiles {
			asked, err := ask(o, from.Version)
			if err != nil {
				return nil, err
			}
			entry, err := store.Find(kernelKind, keyOf(*from, o, asked))
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
// file.
func (s seed) plant(ctx context.Context, object, source, log string) error {
	if err := (run.Cmd{Argv: []string{"cp", "-a", "--reflink=auto", s.object, object}, Log: log}).Run(ctx); err != nil {
		return fmt.Errorf("copying the object tree of another kernel: %w", err)
	}
	err := filepath.WalkDir(object, func(path string, entry fs.DirEntry, err error) error {
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
	if err != nil {
		return fmt.Errorf("moving the object tree of another kernel: %w", err)
	}
	return nil
}
