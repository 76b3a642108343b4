// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
)

// debian is Debian's linux-source package for a series such as 6.12.
type debian struct{ version string }

func (debian) facts() facts { return facts{configurable: true} }

var debianVersion = regexp.MustCompile(`^[0-9]+(\.[0-9]+){1,2}$`)

func parseDebian(spec string) (origin, error) {
	version, ok := strings.CutPrefix(spec, "debian:")
	if !ok {
		return nil, nil
	}
	if !debianVersion.MatchString(version) {
		return nil, hint.Usage(fmt.Errorf("kernel %q names no version of Debian's linux-source packages", spec),
			"write debian:6.12 or debian:6.1; `apt-cache search ^linux-source` lists what there is")
	}
	return debian{version}, nil
}

// fetch unpacks the package. apt verifies its download against the signed
// indexes of the system's package sources.
func (d debian) fetch(ctx context.Context, f fetcher) (Source, error) {
	pkg := "linux-source-" + d.version
	return f.unpacked(ctx, cache.KeyOf(sourceFormat, "debian", pkg), func(ctx context.Context, scratch string) (string, sourceInfo, error) {
		if err := f.needDebian("apt-get", "dpkg-deb", "tar", "xz"); err != nil {
			return "", sourceInfo{}, err
		}
		var debs []string
		err := f.withApt(ctx, scratch, "", func(a apt) error {
			if _, err := a.show(ctx, pkg); err != nil {
				return err
			}
			var err error
			debs, err = a.download(ctx, pkg)
			return err
		})
		if errors.Is(err, errNoPackage) {
			err = hint.Usage(fmt.Errorf("kernel %q: %w", f.spec, err),
				"`apt-cache search ^linux-source` lists what there is; on another distribution, name a directory, a tarball or a URL")
		}
		if err != nil {
			return "", sourceInfo{}, err
		}
		file, err := cache.Digest(debs[0])
		if err != nil {
			return "", sourceInfo{}, fmt.Errorf("reading %s: %w", filepath.Base(debs[0]), err)
		}
		if err := f.unpackDeb(ctx, debs[0], scratch); err != nil {
			return "", sourceInfo{}, err
		}
		// Debian's is a .tar.xz, Ubuntu's a .tar.bz2.
		tarballs, err := filepath.Glob(filepath.Join(scratch, "usr/src", pkg+".tar*"))
		if err != nil || len(tarballs) != 1 {
			return "", sourceInfo{}, fmt.Errorf("%s has %d tarballs in usr/src, and not one", filepath.Base(debs[0]), len(tarballs))
		}
		return tarballs[0], sourceInfo{Key: "sha256:" + file.SHA256, Origin: filepath.Base(debs[0])}, nil
	})
}
