// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/snapshot"
	"github.com/kheaders/kheaders/harness/target"
)

// directory is a kernel tree that belongs to the user, by its absolute path.
type directory struct{ path string }

func (directory) facts() facts { return facts{configurable: true} }

func parseDirectory(spec string) (origin, error) {
	if info := pathInfo(spec); info == nil || !info.IsDir() {
		return nil, nil
	}
	path, err := filepath.Abs(spec)
	if err == nil {
		// The tree's identity must not depend on the link that led to
		// it.
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return nil, fmt.Errorf("finding the kernel %q: %w", spec, err)
	}
	return directory{path}, nil
}

func (d directory) fetch(ctx context.Context, f fetcher) (_ Source, err error) {
	version, err := treeVersion(d.path)
	if err != nil {
		return Source{}, hint.Usage(fmt.Errorf("kernel %q: %w", f.spec, err), "name the top directory of a kernel source tree")
	}
	dir, held, err := f.store.Hold(ctx, treeKind, cache.KeyOf(d.path))
	if err != nil {
		return Source{}, err
	}
	defer func() {
		if err != nil {
			held.Release()
		}
	}()
	o := snapshot.Options{
		From: d.path, To: filepath.Join(dir, sourceTreeName), Index: filepath.Join(dir, "index"),
		Discard: func() error { return os.RemoveAll(filepath.Join(dir, objectsName)) },
		Added:   func(names map[string]bool) error { return renewGenerated(filepath.Join(dir, objectsName), names) },
	}
	if hasBuild(d.path) {
		if o.Skip, err = snapshot.Ignored(ctx, d.path); err != nil {
			return Source{}, err
		}
	}
	if _, err := os.Lstat(o.To); err != nil {
		f.progress("copying " + d.path)
	}
	_, noObjects := os.Lstat(filepath.Join(dir, objectsName))
	files, err := snapshot.Update(ctx, o)
	if err != nil {
		return Source{}, diskFull(err, dir)
	}
	if files.Opaque && noObjects == nil {
		f.progress("building from nothing: a link changed, or the last copy was interrupted")
	}
	return Source{Dir: o.To, Key: "tree:" + files.ID, Version: version, tree: &userTree{d.path, dir, files, held}, build: compile}, nil
}

// hasBuild reports whether a tree was configured or built in. kbuild would refuse
// to build in another directory.
func hasBuild(tree string) bool {
	names := []string{".config", "include/config"}
	for _, t := range target.All() {
		names = append(names, filepath.Join("arch", t.SrcArch, "include/generated"))
	}
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(tree, name)); err == nil {
			return true
		}
	}
	return false
}
