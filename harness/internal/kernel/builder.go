// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/internal/toolchain"
)

// kernelFormat is part of every kernel's key. It changes when Build starts to
// make something else of the same input.
const kernelFormat = "kernel build 1"

// builder makes one kernel.
type builder struct {
	BuildOptions
	store    cache.Store
	source   Source
	asked    []request
	tools    toolchain.Toolchain
	versions []string // of the tools
	root     string   // of the store: the object tree has it in its paths
	log      string   // or empty until something is built
}

func newBuilder(ctx context.Context, store cache.Store, source Source, o BuildOptions) (_ *builder, err error) {
	o.Profile = cmp.Or(o.Profile, DefaultProfile)
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Jobs <= 0 {
		o.Jobs = runtime.NumCPU()
	}
	b := &builder{BuildOptions: o, store: store, source: source, tools: toolchain.GCC(o.Target)}
	if b.asked, err = ask(o, source.Version); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(source.Dir, "arch", o.Target.SrcArch, "Makefile")); errors.Is(err, fs.ErrNotExist) {
		return nil, hint.Usage(fmt.Errorf("the kernel tree %s has no arch/%s", source.named(), o.Target.SrcArch), "choose another --arch, or a kernel that has "+o.Target.Name)
	}
	if wantsClang(b.asked) {
		b.tools = toolchain.Clang(ctx, o.Target)
	}
	if b.versions, err = b.tools.Identity(ctx); err != nil {
		return nil, err
	}
	root, err := store.Root(kernelKind)
	b.root = filepath.Dir(root)
	return b, err
}

// key identifies a kernel. The paths are in it because the object tree contains
// both.
func (b *builder) key(source Source, o BuildOptions, asked []request) cache.Key {
	return b.keyOf(source.Dir, source.Key, o, asked)
}

// place identifies the object tree in which the kernel of a user's tree is built,
// whatever is in that tree.
func (b *builder) place() cache.Key {
	return b.keyOf(b.source.Dir, "", b.BuildOptions, b.asked)
}

func (b *builder) keyOf(dir, content string, o BuildOptions, asked []request) cache.Key {
	parts := []string{kernelFormat, b.root, dir, content, o.Target.Name, o.Target.ImageTarget, formatRequests(asked), runtime.GOARCH}
	if !o.User.None() {
		parts = append(parts, o.User.identity())
	}
	return cache.KeyOf(slices.Concat(parts, b.versions, buildVariables, o.Variables, o.Inputs)...)
}

// maker prepares for calls of make.
func (b *builder) maker(dir string) (maker, error) {
	for _, program := range []string{"make", "flex", "bison", "bc"} {
		if _, err := run.Look(program); err != nil {
			return maker{}, err
		}
	}
	if b.log = b.Log; b.log == "" {
		b.log = dir + ".log"
		if err := os.Remove(b.log); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return maker{}, fmt.Errorf("removing an old log: %w", err)
		}
	}
	return maker{
		source: b.source.Dir, named: b.source.named(), object: filepath.Join(dir, objectName),
		tools: b.tools, log: b.log, progress: b.Progress, variables: b.Variables,
	}, nil
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
	asked = append(asked, more...)
	more, err = o.User.fragment(asked)
	return append(asked, more...), err
}
