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
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
)

// stallTimeout is how long a server may be silent.
const stallTimeout = time.Minute

// remote is a tarball on a server: its address, the digest that proves it is the
// right one, and the program that decompresses it, by its name.
type remote struct{ url, sha256, packed string }

func (r remote) facts() facts { return facts{configurable: true, uses: used(r.packed)} }

var hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

func parseURL(spec string) (origin, error) {
	if name := scheme.FindString(spec); name != "https:" && name != "http:" {
		return nil, nil
	}
	u, err := url.Parse(spec)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("kernel %q is not a valid URL", spec)
	}
	digest, ok := strings.CutPrefix(u.Fragment, "sha256=")
	digest = strings.ToLower(digest)
	if !ok || !hexDigest.MatchString(digest) {
		return nil, hint.Usage(fmt.Errorf("kernel %q lacks the digest of the file", spec),
			"add #sha256= and the 64 hexadecimal digits that sha256sum prints for the file")
	}
	packed, ok := byName(u.Path)
	if !ok {
		return nil, fmt.Errorf("kernel %q is not a source tarball, by its name", spec)
	}
	u.Fragment = ""
	return remote{u.String(), digest, packed.program()}, nil
}

func (r remote) fetch(ctx context.Context, f fetcher) (Source, error) {
	name := path.Base(strings.SplitN(r.url, "?", 2)[0])
	return f.unpacked(ctx, cache.KeyOf(sourceFormat, r.sha256), func(ctx context.Context, scratch string) (string, sourceInfo, error) {
		file := filepath.Join(scratch, name)
		f.progress("downloading " + r.url)
		got, err := download(ctx, r.url, file)
		if err != nil {
			return "", sourceInfo{}, hint.New(fmt.Errorf("downloading %s: %w", r.url, err), "check the address and the network, or download it by other means and name the file")
		}
		if got != r.sha256 {
			return "", sourceInfo{}, hint.Usage(fmt.Errorf("downloading %s: its sha256 is %s, not %s", r.url, got, r.sha256),
				"compare both with what the kernel's publisher says, and use the file only if they agree")
		}
		return file, sourceInfo{Key: "sha256:" + got, Origin: r.url}, nil
	})
}

// download saves what url returns to a file and returns its sha256.
func download(ctx context.Context, url, file string) (digest string, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A server that accepts and then goes silent must not hold us up for
	// ever.
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

// cause replaces an error that only says that ctx ended with the reason why it
// ended.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
