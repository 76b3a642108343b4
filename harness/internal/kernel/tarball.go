// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/kheaders/kheaders/harness/internal/cache"
)

// tarball is a file that contains a kernel tree, by its absolute path. packed is
// the program that decompresses it, if that has to be installed.
type tarball struct{ path, packed string }

func (t tarball) facts() facts { return facts{configurable: true, uses: used(t.packed)} }

func parseTarball(spec string) (origin, error) {
	if info := pathInfo(spec); info == nil || !info.Mode().IsRegular() {
		return nil, nil
	}
	path, err := filepath.Abs(spec)
	if err != nil {
		return nil, fmt.Errorf("finding the kernel %q: %w", spec, err)
	}
	packed, ok, err := compressionOf(path)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel %q: %w", spec, err)
	}
	if !ok {
		return nil, fmt.Errorf("kernel %q is not a source tarball, by its first bytes and its name", spec)
	}
	return tarball{path, packed.program()}, nil
}

func (t tarball) fetch(ctx context.Context, f fetcher) (Source, error) {
	digest, err := hashFile(ctx, t.path, f.indexDir())
	if err != nil {
		return Source{}, fmt.Errorf("reading the kernel %q: %w", f.spec, err)
	}
	return f.unpacked(ctx, cache.KeyOf(sourceFormat, digest), func(context.Context, string) (string, sourceInfo, error) {
		return t.path, sourceInfo{Key: "sha256:" + digest, Origin: t.path}, nil
	})
}
