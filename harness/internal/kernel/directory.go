// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kheaders/kheaders/harness/internal/hint"
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
	if err := CheckPath(path); err != nil {
		return nil, hint.Usage(fmt.Errorf("kernel %q cannot be built: %w", spec, err), "move the tree; a link to it would not help")
	}
	return directory{path}, nil
}

func (d directory) fetch(ctx context.Context, f fetcher) (Source, error) {
	version, err := treeVersion(d.path)
	if err != nil {
		return Source{}, hint.Usage(fmt.Errorf("kernel %q: %w", f.spec, err), "name the top directory of a kernel source tree")
	}
	if leftover := inTreeBuild(d.path); leftover != "" {
		return Source{}, hint.Usage(fmt.Errorf("kernel %q already contains a build (%s), which rules out a separate one", f.spec, leftover),
			"use a clean checkout, such as git worktree add ../linux-clean; `make mrproper` in this one would delete its .config as well")
	}
	id, err := hashTree(ctx, d.path, f.indexDir())
	if err != nil {
		return Source{}, err
	}
	return Source{Dir: d.path, Key: "tree:" + id, Version: version, mutable: true, build: compile}, nil
}

// inTreeBuild returns what kbuild's own check would trip over, or nothing.
func inTreeBuild(tree string) string {
	names := []string{".config", "include/config"}
	for _, t := range target.All() {
		names = append(names, filepath.Join("arch", t.SrcArch, "include/generated"))
	}
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(tree, name)); err == nil {
			return name
		}
	}
	return ""
}
