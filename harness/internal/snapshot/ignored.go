// SPDX-License-Identifier: BSD-3-Clause

package snapshot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/run"
)

// Ignored returns a [Options.Skip] for a tree with a kernel's build in it: what
// the tree's .gitignore files name and git does not track. It leaves out what a
// person has told git elsewhere, since that is about other things than builds.
func Ignored(ctx context.Context, tree string) (func(name string) bool, error) {
	git := []string{"git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C", tree}
	tracked := append(git[:len(git):len(git)], "ls-files", "--error-unmatch", "--", "Makefile")
	if _, err := (run.Cmd{Argv: tracked}).Output(ctx); err != nil {
		if _, err := run.Look("git"); err != nil {
			return nil, err
		}
		// It is no repository, or in one that is about something else.
		dir, err := os.MkdirTemp("", "kheaders-*")
		if err != nil {
			return nil, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if _, err := (run.Cmd{Argv: []string{"git", "init", "--quiet", "--bare", dir}}).Output(ctx); err != nil {
			return nil, fmt.Errorf("looking for what is built in the kernel tree: %w", err)
		}
		git = append(git, "--git-dir="+dir, "--work-tree=.")
	}
	out, err := run.Cmd{Argv: append(git, "ls-files", "-z", "--others", "--ignored", "--directory", "--exclude-per-directory=.gitignore")}.Output(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for what is built in the kernel tree: %w", err)
	}
	names := map[string]bool{}
	for name := range strings.SplitSeq(string(out), "\x00") {
		names[filepath.Clean(name)] = name != ""
	}
	return func(name string) bool { return names[name] }, nil
}
