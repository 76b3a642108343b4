// SPDX-License-Identifier: BSD-3-Clause

package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kheaders/kheaders/harness/guest"
	"github.com/kheaders/kheaders/harness/headers"
	"github.com/kheaders/kheaders/harness/hint"
	"github.com/kheaders/kheaders/harness/kmod"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/module/archive"
	"github.com/kheaders/kheaders/module/source"
)

// This file holds the stages that can be run alone and are no more than one
// call in the pipeline.

// mustHave are headers without which an archive is of no use to anyone: its
// consumers look for them.
func mustHave() []string {
	return []string{
		"include/linux/kconfig.h", "include/linux/types.h",
		"include/generated/autoconf.h", "include/generated/uapi/linux/version.h",
	}
}

// checkArchive decodes a new archive once, on the host. A guest that reads the
// same digest then has the same headers, and need not decode all of them.
func checkArchive(ctx context.Context, path, release string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("checking the new archive: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	missing := mustHave()
	info, err := archive.Walk(ctx, f, archive.Limits{}, func(e archive.Entry, _ io.Reader) error {
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == e.Name })
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("checking the new archive: %w", err)
	case len(missing) > 0:
		return fmt.Errorf("the new archive has no %s", strings.Join(missing, ", "))
	case info.Release != release:
		return fmt.Errorf("the new archive is of release %q, the kernel is %q", info.Release, release)
	}
	return nil
}

// WriteModule writes a directory from which make builds kheaders.ko around an
// archive. The directory must be new or empty; it appears whole or not at all.
// With kernelBuild, the directory in which a kernel was built, an archive of
// another kernel or another configuration is refused, and so is a kernel that
// could not load the module.
func WriteModule(ctx context.Context, archivePath, kernelBuild, dir string) error {
	info, err := headers.Inspect(ctx, archivePath)
	if err != nil {
		return err
	}
	if kernelBuild != "" {
		k, err := kmod.Examine(kernelBuild)
		if err != nil {
			return err
		}
		if info.Release != k.Release {
			return hint.Usage(fmt.Errorf("%s has the headers of %q, and the kernel in %s is %q", archivePath, info.Release, kernelBuild, k.Release),
				"pack that kernel's own: kheaders archive --build "+kernelBuild)
		}
		if err := headers.CheckConfig(ctx, archivePath, kernelBuild); err != nil {
			return err
		}
	}
	files, err := source.Render(source.Archive{SHA256: info.SHA256, Size: info.Size, Release: info.Release, SrcArch: info.SrcArch})
	if err != nil {
		return fmt.Errorf("rendering the module: %w", err)
	}
	return writeDirectory(dir, func(partial string) error { return fillModule(partial, files, archivePath) })
}

// WriteDKMS writes a directory that dkms takes, from which it builds the module
// for any kernel. The directory must be new or empty; it appears whole or not at
// all.
func WriteDKMS(dir string) error {
	files, err := source.DKMS(headers.XZCommand())
	if err != nil {
		return err
	}
	return writeDirectory(dir, func(partial string) error { return writeFiles(partial, files) })
}

// writeDirectory has fill write a directory, which appears in its place when it
// is whole.
func writeDirectory(dir string, fill func(partial string) error) (err error) {
	if name := filepath.Base(filepath.Clean(dir)); name == "." || name == ".." || name == "/" {
		return hint.Usage(fmt.Errorf("%s cannot be replaced by a new directory", dir), "name a directory that does not exist yet")
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return hint.Usage(fmt.Errorf("%s is not empty", dir), "name a directory that does not exist yet")
	}
	partial := filepath.Clean(dir) + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return fmt.Errorf("clearing %s: %w", partial, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(partial))
		}
	}()
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return hint.Usage(fmt.Errorf("making the module's directory: %w", err), "choose another --output DIR")
	}
	if err := fill(partial); err != nil {
		return fmt.Errorf("writing the module: %w", err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replacing %s: %w", dir, err)
	}
	return os.Rename(partial, dir)
}

// fillModule writes the module's source and the archive into a directory.
func fillModule(dir string, files map[string][]byte, archivePath string) error {
	if err := writeFiles(dir, files); err != nil {
		return err
	}
	return copyFile(filepath.Join(dir, source.ArchiveName), archivePath)
}

// writeFiles writes files into a directory.
func writeFiles(dir string, files map[string][]byte) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// WriteInitramfs writes the guest's file system around a module, whose own
// description of its archive is what the guest tests will expect.
func WriteInitramfs(ctx context.Context, b guest.Builder, t target.Target, modulePath, output string) (err error) {
	info, err := kmod.Inspect(modulePath)
	if err != nil {
		return hint.Usage(fmt.Errorf("inspecting %s: %w", modulePath, err), "name a kheaders.ko that kheaders test or make has built")
	}
	if err := info.Check(kmod.Want{Target: t, Release: info.Release(), SHA256: info.SHA256}); err != nil {
		return hint.Usage(fmt.Errorf("inspecting %s: %w", modulePath, err), "name a module for --arch "+t.Name)
	}
	base, err := b.Base(ctx, t)
	if err != nil {
		return Advise(err, t)
	}
	dir, err := os.MkdirTemp(filepath.Dir(output), ".kheaders-programs-*")
	if err != nil {
		return hint.Usage(fmt.Errorf("writing %s: %w", output, err), "choose another --output FILE")
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	programs, err := b.Programs(ctx, t, guest.Tests, dir)
	if err != nil {
		return Advise(err, t)
	}
	return writeInitramfs(output, guestPrograms{programs, base}, modulePath, testPlan(t, info.SHA256, info.Size, info.Release()))
}
