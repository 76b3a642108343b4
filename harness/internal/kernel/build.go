// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/cache"
)

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
	b, err := newBuilder(ctx, store, source, o)
	if err != nil {
		return Kernel{}, err
	}
	key := b.key(source, b.BuildOptions, b.asked)
	var entry cache.Entry
	if source.tree == nil {
		entry, err = store.Get(ctx, kernelKind, key, b.build)
	} else {
		entry, err = store.Renew(ctx, source.tree.objects(), b.place(), key, b.rebuild)
	}
	if err != nil {
		return Kernel{}, err
	}
	k := Kernel{
		Dir: entry.Path(objectName), SourceDir: source.Dir, named: source.named(), Config: entry.Path(configName), Version: source.Version,
		Image: entry.Path(filepath.Join(objectName, o.Target.ImagePath)),
		Key:   string(key), Log: b.log, How: how("built", entry), Cached: entry.Hit,
	}
	if source.tree != nil {
		if err := source.tree.keys(&k, o.Target); err != nil {
			return Kernel{}, err
		}
	}
	return describe(k)
}

// describe completes a kernel with what its object tree says about it.
func describe(k Kernel) (Kernel, error) {
	release, err := os.ReadFile(filepath.Join(k.Dir, releaseName))
	if err != nil {
		return Kernel{}, fmt.Errorf("reading the kernel's release: %w", err)
	}
	k.Release = strings.TrimSpace(string(release))
	k.HeadersKey, k.ModulesKey = cmp.Or(k.HeadersKey, k.Key), cmp.Or(k.ModulesKey, k.Key)
	missing, err := k.Missing("CONFIG_KASAN")
	k.Instrumented = len(missing) == 0
	return k, err
}

// build makes a kernel in an empty directory, from nothing or from a seed.
func (b *builder) build(ctx context.Context, dir string) ([]string, error) {
	m, err := b.maker(dir)
	if err != nil {
		return nil, err
	}
	if err := b.plant(ctx, m); err != nil {
		return nil, diskFull(err, dir)
	}
	config, err := m.configure(ctx, b.asked, b.User)
	if err != nil {
		return nil, diskFull(err, dir)
	}
	// Saved before the build, so that a failed one leaves its configuration
	// too.
	if err := os.WriteFile(filepath.Join(dir, configName), config, 0o644); err != nil {
		return nil, diskFull(fmt.Errorf("saving the configuration: %w", err), dir)
	}
	return b.finish(ctx, m, dir)
}
