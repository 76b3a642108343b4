// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"context"
	"encoding/hex"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/index"
)

// hashFile returns the sha256 of a file. indexDir keeps what
// was learned about it, so that an unchanged file is not read again.
func hashFile(ctx context.Context, path, indexDir string) (string, error) {
	at := index.Path(indexDir, path)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	e := index.Entry{Name: path, Stamp: index.StampOf(&st)}
	if old := index.Load(at)["."]; len(old) == 1 && old[0].Stamp == e.Stamp {
		return hex.EncodeToString(old[0].Digest[:]), nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	settled := time.Now().Add(-index.Window)
	file, err := cache.Digest(path)
	if err != nil {
		return "", err
	}
	if _, err := hex.Decode(e.Digest[:], []byte(file.SHA256)); err != nil {
		return "", err
	}
	e.Stamp = e.Stamp.Settled(settled)
	return file.SHA256, index.Save(at, index.Index{".": {e}})
}
