// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/internal/toolchain"
	"github.com/kheaders/kheaders/harness/target"
)

// kernelFormat is part of every kernel's key. It changes when Build starts to
// make something else of the same input.
const kernelFormat = "kernel build 1"

// Build returns the kernel that a source makes for a target and a profile. It
// configures the kernel with tinyconfig and the fragments. It fails with a
// [*ConfigError] when a requested symbol does not come out as requested, with a
// [*BuildError] when make fails, and with a [*run.NotFoundError] when a tool is
// missing. The object tree of a failed make stays for inspection until the next
// build. For a prebuilt kernel, Build returns the kernel that was fetched.
func Build(ctx context.Context, store cache.Store, source Source, o BuildOptions) (Kernel, error) {
	return source.build(ctx, store, source, o)
}

// compile builds the kernel of a source tree, or takes it from the cache.
func compile(ctx context.Context, store cache.Store, source Source, o BuildOptions) (Kernel, error) {
	if o.Profile == "" {
		o.Profile = DefaultProfile
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Jobs <= 0 {
		o.Jobs = runtime.NumCPU()
	}
	asked, err := ask(o, source.Version)
	if err != nil {
		return Kernel{}, err
	}
	if _, err := os.Stat(filepath.Join(source.Dir, "arch", o.Target.SrcArch, "Makefile")); errors.Is(err, fs.ErrNotExist) {
		return Kernel{}, hint.Usage(fmt.Errorf("the kernel tree %s has no arch/%s", source.Dir, o.Target.SrcArch), "choose another --arch, or a kernel that has "+o.Target.Name)
	}
	tools := toolchain.GCC(o.Target)
	if wantsClang(asked) {
		tools = toolchain.Clang(ctx, o.Target)
	}
	versions, err := tools.Identity(ctx)
	if err != nil {
		return Kernel{}, err
	}
	// The paths are in the key because the object tree contains both.
	root, err := store.Root(kernelKind)
	if err != nil {
		return Kernel{}, err
	}
	keyOf := func(source Source, o BuildOptions, asked []request) cache.Key {
		parts := []string{kernelFormat, filepath.Dir(root), source.Dir, source.Key, o.Target.Name, o.Target.ImageTarget, formatRequests(asked), runtime.GOARCH}
		return cache.KeyOf(slices.Concat(parts, versions, buildVariables, o.Variables, o.Inputs)...)
	}
	key := keyOf(source, o, asked)

	log := ""
	entry, err := store.Get(ctx, kernelKind, key, func(ctx context.Context, dir string) ([]string, error) {
		for _, program := range []string{"make", "flex", "bison", "bc"} {
			if _, err := run.Look(program); err != nil {
				return nil, err
			}
		}
		if log = o.Log; log == "" {
			log = dir + ".log"
			if err := os.Remove(log); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("removing an old log: %w", err)
			}
		}
		seed, err := findSeed(store, source, o, keyOf)
		if err != nil {
			return nil, err
		}
		if err := build(ctx, store, source, o, tools, asked, seed, dir, log); err != nil {
			return nil, diskFull(err, dir)
		}
		return outputs(dir, o.Target), nil
	})
	if err != nil {
		return Kernel{}, err
	}
	return describe(Kernel{
		Dir: entry.Path(objectName), SourceDir: source.Dir, Config: entry.Path(configName), Version: source.Version,
		Image: entry.Path(filepath.Join(objectName, o.Target.ImagePath)),
		Key:   string(key), Log: log, How: how("built", entry), Cached: entry.Hit,
	})
}

// outputs returns the files in dir that a build is useless without.
func outputs(dir string, t target.Target) []string {
	names := []string{configName}
	for _, name := range []string{t.ImagePath, releaseName, ".config", "Makefile", "Module.symvers", "include/generated/autoconf.h"} {
		names = append(names, filepath.Join(objectName, name))
	}
	// Only some configurations have these, but building modules needs them.
	for _, name := range []string{"kernel/kheaders.ko", "certs/signing_key.pem", "certs/signing_key.x509", "scripts/sign-file"} {
		if _, err := os.Stat(filepath.Join(dir, objectName, name)); err == nil {
			names = append(names, filepath.Join(objectName, name))
		}
	}
	return names
}

// describe completes a kernel with what its object tree says about it.
func describe(k Kernel) (Kernel, error) {
	release, err := os.ReadFile(filepath.Join(k.Dir, releaseName))
	if err != nil {
		return Kernel{}, fmt.Errorf("reading the kernel's release: %w", err)
	}
	k.Release = strings.TrimSpace(string(release))
	missing, err := k.Missing("CONFIG_KASAN")
	k.Instrumented = len(missing) == 0
	return k, err
}

// build configures and builds a kernel in dir, from scratch or from a seed.
func build(ctx context.Context, store cache.Store, source Source, o BuildOptions, tools toolchain.Toolchain, asked []request, from *seed, dir, log string) error {
	m := maker{source: source.Dir, object: filepath.Join(dir, objectName), tools: tools, log: log, progress: o.Progress, variables: o.Variables}
	if from != nil {
		if err := from.plant(ctx, m.object, m.source, log); err != nil {
			return err
		}
	} else if err := os.Mkdir(m.object, 0o755); err != nil {
		return fmt.Errorf("making the object tree: %w", err)
	}
	config, err := configure(ctx, m, asked)
	if err != nil {
		return err
	}
	// Saved before the build, so that a failed one leaves its configuration
	// too.
	if err := os.WriteFile(filepath.Join(dir, configName), config, 0o644); err != nil {
		return fmt.Errorf("saving the configuration: %w", err)
	}
	if err := m.make(ctx, "-j"+strconv.Itoa(o.Jobs), o.Target.ImageTarget, "modules"); err != nil {
		return failed(err)
	}
	after, err := os.ReadFile(filepath.Join(m.object, ".config"))
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if string(after) != string(config) {
		return cache.Keep(fmt.Errorf("the build has changed the kernel's configuration: %s/%s and %s/.config differ", dir, configName, m.object))
	}
	if source.mutable {
		id, err := hashTree(ctx, source.Dir, indexDir(store))
		if err != nil {
			return err
		}
		if "tree:"+id != source.Key {
			return hint.New(fmt.Errorf("the kernel tree %s was changed while it was being built", source.Dir), "run it again when nothing changes the tree")
		}
	}
	return syncFileSystem(dir)
}

// failed keeps the object tree of a failed make, unless the disk is full.
func failed(err error) error {
	if e, ok := errors.AsType[*BuildError](err); ok && !causes[0].MatchString(e.Cause) {
		return cache.Keep(err)
	}
	return err
}

// configure writes the object tree's .config and returns it.
func configure(ctx context.Context, m maker, asked []request) ([]byte, error) {
	path := filepath.Join(m.object, ".config")
	if err := m.make(ctx, "tinyconfig"); err != nil {
		return nil, failed(err)
	}
	base, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if err := os.WriteFile(path, []byte(merge(string(base), asked)), 0o644); err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	if err := m.make(ctx, "olddefconfig"); err != nil {
		return nil, failed(err)
	}
	config, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if lines := lost(string(config), asked); len(lines) > 0 {
		return nil, cache.Keep(hint.New(&ConfigError{Lost: lines}, path+" has what the kernel made of the request; a symbol's dependencies may be missing in this version"))
	}
	return config, nil
}
