// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/internal/snapshot"
)

// patchFormat is part of every patched source's key. It changes with the layout
// of the cache entries.
const patchFormat = "patched source 1"

// patchedFile matches the line of a patch that names a file as it will be.
var patchedFile = regexp.MustCompile(`(?m)^\+\+\+ b/([^\t\n]+)`)

// Patch returns a copy of a source tree with a patch applied. The copy shares all
// files that the patch does not change through hard links. changed names the
// files that the patch changes, as opposed to those that it adds.
func Patch(ctx context.Context, store cache.Store, source Source, patch []byte, changed []string) (Source, error) {
	sum := sha256.Sum256(patch)
	digest := hex.EncodeToString(sum[:])
	patched := Source{Key: source.Key + "+patch:" + digest, Version: source.Version, tree: source.tree, unpatched: &source, build: compile}
	var entry cache.Entry
	var err error
	build := func(ctx context.Context, dir string) ([]string, error) {
		if err := patchCopy(ctx, source, patch, changed, filepath.Join(dir, sourceTreeName)); err != nil {
			return nil, diskFull(err, dir)
		}
		outputs := []string{sourceTreeName + "/Makefile"}
		for _, name := range changed {
			outputs = append(outputs, filepath.Join(sourceTreeName, name))
		}
		return outputs, snapshot.SyncFileSystem(dir)
	}
	key := cache.KeyOf(patchFormat, source.Dir, patched.Key)
	if source.tree != nil {
		entry, err = store.Renew(ctx, source.tree.kind(), cache.Key("patched-"+digest[:16]), key, func(ctx context.Context, dir string, _ cache.Earlier) ([]string, error) {
			return build(ctx, dir)
		})
	} else {
		entry, err = store.Get(ctx, "source", key, build)
	}
	if err != nil {
		return Source{}, err
	}
	patched.Dir = entry.Path(sourceTreeName)
	return patched, nil
}

// patchCopy makes a patched copy, or brings one up to date.
func patchCopy(ctx context.Context, source Source, patch []byte, changed []string, to string) error {
	if _, err := run.Look("patch"); err != nil {
		return err
	}
	var names []string // that the patch changes or adds
	for _, m := range patchedFile.FindAllSubmatch(patch, -1) {
		names = append(names, string(m[1]))
	}
	if err := snapshot.Link(ctx, source.Dir, to, func(name string) bool { return slices.Contains(names, name) }); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(filepath.Dir(to), "patch-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	for _, name := range changed {
		text, err := os.ReadFile(filepath.Join(source.Dir, name))
		if err == nil {
			err = replace(filepath.Join(scratch, name), text)
		}
		if err != nil {
			return fmt.Errorf("copying what the patch changes: %w", err)
		}
	}
	argv := []string{"patch", "--strip=1", "--batch", "--forward", "--fuzz=0", "--no-backup-if-mismatch"}
	if err := (run.Cmd{Argv: argv, Dir: scratch, Env: plainMessages, Stdin: bytes.NewReader(patch)}).Run(ctx); err != nil {
		return fmt.Errorf("patching the kernel tree: %w", err)
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(scratch, name))
		if err == nil {
			err = replace(filepath.Join(to, name), text)
		}
		if err != nil {
			return fmt.Errorf("patching the kernel tree: %w", err)
		}
	}
	return nil
}

// replace gives a file a new content, unless it has that already. The old file
// may have other names, which keep the old content.
func replace(path string, text []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
