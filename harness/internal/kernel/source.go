// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/target"
)

// sourceFormat is part of every source's key. It changes with the layout of
// the cache entries.
const sourceFormat = "kernel source 1"

// Source is a kernel's source tree.
type Source struct {
	// Dir is the tree, or our copy of the user's. Nobody may write to it.
	Dir string
	// Key identifies its content.
	Key string
	// Version is the kernel's version, such as 6.12.117.
	Version string

	// tree is the user's tree that Dir is a copy of, or nil.
	tree *userTree
	// unpatched is what a patched source was made from.
	unpatched *Source
	// build is [Build] for this source.
	build func(context.Context, cache.Store, Source, BuildOptions) (Kernel, error)
}

// Release lets other runs have the source, where only one can at a time. Kernels
// that were built from it may change from then on.
func (s Source) Release() {
	if s.tree != nil {
		s.tree.held.Release()
	}
}

// named returns what people call the source.
func (s Source) named() string {
	if s.tree != nil {
		return s.tree.path
	}
	return s.Dir
}

// fetcher is what an origin needs to fetch.
type fetcher struct {
	store    cache.Store
	spec     string // what the user calls it
	targets  []target.Target
	progress func(string)
}

func (f fetcher) indexDir() string { return indexDir(f.store) }

func indexDir(store cache.Store) string { return filepath.Join(store.Dir, "index") }

var makefileVersion = regexp.MustCompile(`(?m)^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=[ \t]*(.*?)[ \t]*$`)

// treeVersion reads the version from a kernel tree's Makefile. It fails when
// the directory is not a kernel tree.
func treeVersion(dir string) (string, error) {
	for _, name := range []string{"Kbuild", "Kconfig"} {
		if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("not a kernel tree: it has no %s", name)
		} else if err != nil {
			return "", err
		}
	}
	return makefileVersionOf(dir)
}

// makefileVersionOf reads the version from the Makefile in a directory, which
// may be a directory of headers.
func makefileVersionOf(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "Makefile"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("not a kernel tree: it has no Makefile")
	}
	if err != nil {
		return "", err
	}
	v := map[string]string{}
	for _, m := range makefileVersion.FindAllStringSubmatch(string(text), -1) {
		if _, ok := v[m[1]]; !ok {
			v[m[1]] = m[2]
		}
	}
	if v["VERSION"] == "" || v["PATCHLEVEL"] == "" {
		return "", errors.New("not a kernel tree: its Makefile has no VERSION and PATCHLEVEL")
	}
	version := v["VERSION"] + "." + v["PATCHLEVEL"]
	if v["SUBLEVEL"] != "" {
		version += "." + v["SUBLEVEL"]
	}
	return version + v["EXTRAVERSION"], nil
}

// origin is where one kernel comes from. Specs are compared, and their origins
// with them, so every origin must be comparable.
type origin interface {
	fetch(ctx context.Context, f fetcher) (Source, error)
	facts() facts
}

// facts are what others want to know about a kernel before it is fetched.
type facts struct {
	// configurable says that it is built from source, so that it can be
	// configured and patched. If not, fromSource is a spec that can.
	configurable bool
	fromSource   string
	// headerPackages says that it has header packages in a distribution's
	// layout, which is what DKMS builds against.
	headerPackages bool
	// uses are what to pass to doctor.Needed for it.
	uses []string
}
