// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"context"
	"strconv"
	"time"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/module/archive"
)

// Key identifies everything that the archive's bytes depend on, except for the
// content of the trees: two calls of [Pack] with the same trees and the same
// key write the same file.
func Key(ctx context.Context, opts Options) (string, error) {
	compressor, err := chooseCompressor(opts.Compressor)
	if err != nil {
		return "", err
	}
	mtime, err := Timestamp(ctx)
	if err != nil {
		return "", err
	}
	return keyOf(ctx, opts, compressor, mtime)
}

func keyOf(ctx context.Context, opts Options, compressor compressor, mtime time.Time) (string, error) {
	version, err := compressor.version(ctx)
	if err != nil {
		return "", err
	}
	return string(cache.KeyOf(
		strconv.Itoa(archive.Version), opts.Target.SrcArch, compressor.name, version,
		strconv.FormatInt(mtime.Unix(), 10), strconv.FormatBool(opts.KeepComments),
	)), nil
}
