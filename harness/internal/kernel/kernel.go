// SPDX-License-Identifier: BSD-3-Clause

// Package kernel turns a kernel spec into a source tree, and a source tree into
// a small kernel to test with. Both are kept in the cache: a kernel is rebuilt
// only when its source, its configuration, the compiler or the build's
// variables have changed, and finding that out takes no call of make.
//
// In the store, an entry "source" has an unpacked tarball in linux/, an entry
// "kernel" has an object tree in build/ and its configuration in config, and an
// entry "image" has the unpacked packages of a kernel that Debian built. The
// object tree is complete: modules are built against it with make's M=. The
// store's directory "index" has what is known about the user's own trees.
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

// BuildOptions say how a kernel is built.
type BuildOptions struct {
	// Target is the architecture.
	Target target.Target
	// Profile selects a config fragment; empty means [DefaultProfile].
	Profile string
	// Config is the caller's own config fragment, and Variables are
	// variables for make, in addition to ours.
	Config    string
	Variables []string
	// Inputs identify what else goes into the build.
	Inputs []string
	// Jobs is make's -j. Zero means one per processor.
	Jobs int
	// Log is the file to which make's output is appended. Empty means one
	// beside the cache entry.
	Log string
	// Progress, if set, receives a line for each step that takes time, with
	// the command that runs. It may be called from another goroutine, but
	// never from two at once.
	Progress func(string)
}

// Kernel is a finished kernel, built by us or by a distribution.
type Kernel struct {
	// Dir is the object tree, O= in kbuild's terms. Nobody may write to it;
	// building modules against it does not.
	Dir string
	// SourceDir is the source tree that it was built from.
	SourceDir string
	// Image is the file to boot.
	Image string
	// Config is the final configuration.
	Config string
	// Instrumented says that the compiler put checks everywhere (KASAN),
	// which make the kernel several times slower.
	Instrumented bool
	// Release is what uname -r says on it.
	Release string
	// Version is the kernel's version, which a distribution's release need
	// not contain.
	Version string
	// Modules is the directory of the kernel's own modules, or empty when it
	// needs none.
	Modules string
	// Key identifies the kernel: everything it was built from.
	Key string
	// Log is the file with make's output, or empty when nothing was built.
	Log string
	// How says where it came from: "built", "fetched" or "from the cache".
	How string
	// Cached says that it was already built or fetched before.
	Cached bool
}

const (
	kernelKind  = "kernel" // of entries in the store
	objectName  = "build"
	configName  = "config"
	releaseName = "include/config/kernel.release"
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

// how returns how a kernel was made, or that its entry was already there.
func how(made string, entry cache.Entry) string {
	if entry.Hit {
		return "from the cache"
	}
	return made
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

// Missing returns the given options, such as CONFIG_BPF_SYSCALL, that are not
// built into the kernel.
func (k Kernel) Missing(options ...string) ([]string, error) {
	config, err := os.ReadFile(k.Config)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's configuration: %w", err)
	}
	return slices.DeleteFunc(slices.Clone(options), func(option string) bool {
		return strings.Contains("\n"+string(config), "\n"+option+"=y\n")
	}), nil
}

// ask returns what the fragments of a kernel request from its configuration.
func ask(o BuildOptions, version string) ([]request, error) {
	asked, err := requests(o.Target, o.Profile, version)
	if err != nil {
		return nil, err
	}
	more, err := parseFragment(o.Config, new(int))
	if err != nil {
		return nil, fmt.Errorf("config fragment: %w", err)
	}
	return append(asked, more...), nil
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
			return hint.New(fmt.Errorf("the kernel tree %s was changed while it was being built", source.Dir), "run it again when the tree is at rest")
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
		return nil, cache.Keep(hint.New(&ConfigError{Lost: lines}, "the kernel's "+path+" has what it made of the request; a symbol's dependencies may be missing in this version"))
	}
	return config, nil
}
