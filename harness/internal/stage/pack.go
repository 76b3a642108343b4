// SPDX-License-Identifier: BSD-3-Clause

package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/headers"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/module/archive"
	"github.com/kheaders/kheaders/module/source"
)

// PackInput is what [Pack] takes.
type PackInput struct {
	Store  cache.Store
	Kernel kernel.Kernel
	Target target.Target
	// Compressor makes the archive: see [headers.Compressors].
	Compressor string
	Say        Say
}

// Pack packs a kernel's headers into an archive, or takes it from the cache.
func Pack(ctx context.Context, in PackInput) (File, error) {
	file, err := pack(ctx, in)
	if err != nil {
		return File{}, fmt.Errorf("packing the headers: %w", err)
	}
	in.Say("headers", "%d bytes, sha256 %.12s…", file.Size, file.SHA256)
	return file, nil
}

func pack(ctx context.Context, in PackInput) (File, error) {
	options := headers.Options{
		Source: in.Kernel.SourceDir, Build: in.Kernel.Dir, Target: in.Target, Compressor: in.Compressor,
	}
	key, err := headers.Key(ctx, options)
	if err != nil {
		return File{}, err
	}
	entry, err := in.Store.Get(ctx, "headers", cache.KeyOf(in.Kernel.HeadersKey, in.Kernel.Release, key), func(ctx context.Context, dir string) ([]string, error) {
		in.Say("headers", "packing")
		options.Output = filepath.Join(dir, source.ArchiveName)
		if _, err := headers.Pack(ctx, options); err != nil {
			return nil, err
		}
		return []string{source.ArchiveName}, checkArchive(ctx, options.Output, in.Kernel.Release)
	})
	if err != nil {
		return File{}, err
	}
	return Digest(entry.Path(source.ArchiveName))
}

// mustHave are headers that every consumer of an archive looks for.
func mustHave() []string {
	return []string{
		"include/linux/kconfig.h", "include/linux/types.h",
		"include/generated/autoconf.h", "include/generated/uapi/linux/version.h",
	}
}

// checkArchive decodes a new archive once, on the host. A guest that reads the
// same digest has the same headers, and need not decode them all.
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
