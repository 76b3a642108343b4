// SPDX-License-Identifier: BSD-3-Clause

package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/kmod"
	"github.com/kheaders/kheaders/harness/internal/mode"
	"github.com/kheaders/kheaders/harness/internal/symbol"
	"github.com/kheaders/kheaders/harness/internal/toolchain"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/module/source"
)

// ModuleFile is the module's file name, and UnsignedFile that of the copy
// without a signature.
const (
	ModuleFile   = kmod.ModuleFile
	UnsignedFile = kmod.UnsignedFile
)

// PlantModule puts a module into the cache in store, in place of the healthy one
// in the directory entry. The other files that were built with the healthy one
// for the kernel in kernelBuild go with it.
func PlantModule(ctx context.Context, store, entry, kernelBuild string, ko []byte) error {
	key := cache.Key(filepath.Base(entry))
	if err := os.RemoveAll(filepath.Join(store, "module", string(key))); err != nil {
		return err
	}
	loader, err := kmod.Examine(kernelBuild)
	if err != nil {
		return err
	}
	_, err = cache.Store{Dir: store}.Get(ctx, "module", key, func(_ context.Context, dir string) ([]string, error) {
		for _, name := range loader.Files() {
			data := ko
			if name != kmod.ModuleFile {
				if data, err = os.ReadFile(filepath.Join(entry, name)); err != nil {
					return nil, err
				}
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				return nil, err
			}
		}
		return loader.Files(), nil
	})
	return err
}

// FaultyModule builds the module in the directory entry again, with a header
// included before its C code, or finds it in the cache.
func FaultyModule(ctx context.Context, store, entry, kernelBuild string, t target.Target, header []byte) ([]byte, error) {
	made, err := cache.Store{Dir: store}.Get(ctx, "faulty-module", cache.KeyOf(filepath.Base(entry), string(header)), func(ctx context.Context, dir string) ([]string, error) {
		files, err := source.Render(source.Archive{SHA256: strings.Repeat("0", 64), Size: 1, Release: "1"})
		if err != nil {
			return nil, err
		}
		names := []string{source.ArchiveName}
		for name := range files {
			names = append(names, name)
		}
		for _, name := range names {
			data, err := os.ReadFile(filepath.Join(entry, name))
			if err != nil {
				return nil, err
			}
			if name == "Kbuild" {
				data = append(data, "\nccflags-y += -include $(src)/fault.h\n"...)
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				return nil, err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "fault.h"), header, 0o644); err != nil {
			return nil, err
		}
		loader, err := kmod.Examine(kernelBuild)
		if err != nil {
			return nil, err
		}
		return []string{ModuleFile}, kmod.Build(ctx, loader, kmod.BuildOptions{Target: t, Dir: dir, Log: filepath.Join(dir, "build.log"), Jobs: 2})
	})
	if err != nil {
		return nil, fmt.Errorf("building the faulty module: %w", err)
	}
	return os.ReadFile(made.Path(ModuleFile))
}

// BuildDKMS builds the module in an empty directory for the kernel in
// kernelBuild, as DKMS does on that kernel's machine, and returns its path.
func BuildDKMS(ctx context.Context, kernelBuild string, t target.Target, dir string) (string, error) {
	tree := filepath.Join(dir, kmod.DKMSSource)
	if err := mode.WriteDKMS(tree); err != nil {
		return "", err
	}
	loader, err := kmod.Examine(kernelBuild)
	if err != nil {
		return "", err
	}
	err = kmod.BuildDKMS(ctx, loader, kmod.BuildOptions{Target: t, Dir: dir, Log: filepath.Join(dir, "build.log"), Jobs: 2})
	return filepath.Join(dir, ModuleFile), err
}

// CheckModule inspects a module as is done before every boot. It returns the
// digest of the archive in it, and its .modinfo.
func CheckModule(ko []byte, t target.Target, release string) (sha256 string, modinfo map[string]string, err error) {
	info, err := kmod.Parse(ko)
	if err != nil {
		return "", nil, err
	}
	err = info.Check(kmod.Want{Target: t, Release: release, SHA256: info.SHA256})
	return info.SHA256, info.Modinfo, err
}

// ClangVariables returns the make variables that build a kernel with clang.
func ClangVariables(ctx context.Context, t target.Target) []string {
	return toolchain.Clang(ctx, t).Variables()
}

// OpenSymbols reads the symbols of a kernel or a module, with source lines
// relative to the roots.
func OpenSymbols(path string, roots ...string) (*symbol.Object, error) {
	return symbol.Open(path, roots...)
}
