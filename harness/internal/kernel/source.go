// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/target"
)

// sourceFormat is part of every source's key. It changes with the layout of
// the cache entries.
const sourceFormat = "kernel source 1"

// Source is a kernel's source tree.
type Source struct {
	// Dir is the tree. Nobody may write to it.
	Dir string
	// Key identifies its content.
	Key string
	// Version is the kernel's version, such as 6.12.117.
	Version string

	// mutable says that the tree is the user's, who may change it at any
	// time.
	mutable bool
	// unpatched is what a patched source was made from.
	unpatched *Source
	// build is [Build] for this source.
	build func(context.Context, cache.Store, Source, BuildOptions) (Kernel, error)
}

// Fetch turns a spec into a source tree. The store keeps downloads and unpacked
// tarballs, and what it has is used without asking anyone: a Debian package
// stays at the version fetched first until the store's source directory is
// removed. A directory is used where it is. progress receives a line for each
// step that takes time, with the command that runs. targets are the
// architectures to fetch a prebuilt kernel for.
func Fetch(ctx context.Context, store cache.Store, spec Spec, progress func(string), targets ...target.Target) (Source, error) {
	if progress == nil {
		progress = func(string) {}
	}
	return spec.origin.fetch(ctx, fetcher{store, spec, targets, progress})
}

// fetcher is what an origin needs to fetch.
type fetcher struct {
	store    cache.Store
	spec     Spec // what the user calls it
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
			return "", fmt.Errorf("no kernel tree: it has no %s", name)
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
		return "", errors.New("no kernel tree: it has no Makefile")
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
		return "", errors.New("no kernel tree: its Makefile has no VERSION and PATCHLEVEL")
	}
	version := v["VERSION"] + "." + v["PATCHLEVEL"]
	if v["SUBLEVEL"] != "" {
		version += "." + v["SUBLEVEL"]
	}
	return version + v["EXTRAVERSION"], nil
}

// sourceInfo is what an entry of unpacked source records about itself.
type sourceInfo struct {
	// Key identifies the content: the digest of the file it came from.
	Key string `json:"key"`
	// Version is the kernel's version.
	Version string `json:"version"`
	// Origin says where it came from, for people.
	Origin string `json:"origin"`
}

const (
	sourceInfoName = "source.json"
	sourceTreeName = "linux"
)

// unpacked returns the source in the entry of a key. If there is none, obtain
// fetches the tarball into an empty scratch directory, which is removed
// afterwards, and returns its path and identity.
func (f fetcher) unpacked(ctx context.Context, key cache.Key, obtain func(ctx context.Context, scratch string) (tarball string, info sourceInfo, err error)) (Source, error) {
	entry, err := f.store.Get(ctx, "source", key, func(ctx context.Context, dir string) ([]string, error) {
		if err := f.fill(ctx, dir, obtain); err != nil {
			return nil, diskFull(err, dir)
		}
		return []string{sourceInfoName, sourceTreeName + "/Makefile"}, nil
	})
	if err != nil {
		return Source{}, err
	}
	text, err := os.ReadFile(entry.Path(sourceInfoName))
	if err != nil {
		return Source{}, fmt.Errorf("reading what is known about the source: %w", err)
	}
	var info sourceInfo
	if err := json.Unmarshal(text, &info); err != nil {
		return Source{}, fmt.Errorf("reading what is known about the source: %w", err)
	}
	return Source{Dir: entry.Path(sourceTreeName), Key: info.Key, Version: info.Version, build: compile}, nil
}

func (f fetcher) fill(ctx context.Context, dir string, obtain func(ctx context.Context, scratch string) (string, sourceInfo, error)) error {
	scratch := filepath.Join(dir, "scratch")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return fmt.Errorf("making a directory for the download: %w", err)
	}
	tarball, info, err := obtain(ctx, scratch)
	if err != nil {
		return err
	}
	tree := filepath.Join(dir, sourceTreeName)
	if err := f.unpack(ctx, tarball, tree); err != nil {
		return err
	}
	if err := os.RemoveAll(scratch); err != nil {
		return fmt.Errorf("removing the download: %w", err)
	}
	if info.Version, err = treeVersion(tree); err != nil {
		return hint.Usage(fmt.Errorf("%s: %w", info.Origin, err), "a source tarball holds one kernel tree, or one directory with it")
	}
	text, err := json.MarshalIndent(info, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, sourceInfoName), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing what is known about the source: %w", err)
	}
	// Later uses check only some of the files, so all of them must be on
	// the disk before the entry counts.
	return syncFileSystem(dir)
}
