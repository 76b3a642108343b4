// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
)

// stallTimeout is how long a server may be silent.
const stallTimeout = time.Minute

func (f fetcher) url(ctx context.Context, spec Spec) (Source, error) {
	name := path.Base(strings.SplitN(spec.url, "?", 2)[0])
	return f.unpacked(ctx, cache.KeyOf(sourceFormat, spec.sha256, strings.Join(compressionOf(name), " ")), func(ctx context.Context, scratch string) (string, sourceInfo, error) {
		file := filepath.Join(scratch, name)
		f.progress("downloading " + spec.url)
		got, err := download(ctx, spec.url, file)
		if err != nil {
			return "", sourceInfo{}, hint.New(fmt.Errorf("downloading %s: %w", spec.url, err), "check the address and the network, or download it by other means and name the file")
		}
		if got != spec.sha256 {
			return "", sourceInfo{}, hint.Usage(fmt.Errorf("downloading %s: its sha256 is %s, not %s", spec.url, got, spec.sha256),
				"compare both with what the kernel's publisher says, and use the file only if they agree")
		}
		return file, sourceInfo{Key: "sha256:" + got, Origin: spec.url}, nil
	})
}

// download writes what url answers to a file and returns its sha256.
func download(ctx context.Context, url, file string) (digest string, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A server that accepts and then says nothing must not hold us for ever.
	stalled := fmt.Errorf("no data for %v", stallTimeout)
	watchdog := time.AfterFunc(stallTimeout, func() { cancel(stalled) })
	defer watchdog.Stop()

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", cause(ctx, err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the server says %s", resp.Status)
	}
	out, err := os.Create(file)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	h := sha256.New()
	buf := make([]byte, 256<<10)
	for {
		n, err := resp.Body.Read(buf)
		watchdog.Reset(stallTimeout)
		if _, werr := io.MultiWriter(h, out).Write(buf[:n]); werr != nil {
			return "", werr
		}
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", cause(ctx, err)
		}
	}
}

// cause replaces an error that only says that ctx has ended by the reason.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
