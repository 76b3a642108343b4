// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kheaders/kheaders/harness/cache"
	"github.com/kheaders/kheaders/harness/hint"
	"github.com/kheaders/kheaders/harness/run"
)

// aptConf is read after the system's configuration. It keeps apt's state below
// a directory of ours, and drops the hooks that a system may run after an
// update: they are not for us, and some need root. %[1]s is that directory.
const aptConf = `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::State::lists "%[1]s/lists";
Dir::Cache "%[1]s/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
`

// debian unpacks Debian's linux-source package. apt checks what it downloads
// against the signed indexes of the system's package sources.
func (f fetcher) debian(ctx context.Context, spec Spec) (Source, error) {
	pkg := "linux-source-" + spec.version
	return f.unpacked(ctx, cache.KeyOf(sourceFormat, "debian", pkg), func(ctx context.Context, scratch string) (string, sourceInfo, error) {
		for _, program := range []string{"apt-get", "dpkg-deb", "tar", "xz"} {
			if _, err := run.Look(program); err != nil {
				return "", sourceInfo{}, hint.New(fmt.Errorf("kernel %q is fetched and unpacked with Debian's tools: %w", spec, err),
					"install "+program+", or on a system without apt name a directory, a tarball or a URL: "+specForms)
			}
		}
		deb, err := f.aptDownload(ctx, spec, pkg, scratch)
		if err != nil {
			return "", sourceInfo{}, err
		}
		file, err := cache.Digest(deb)
		if err != nil {
			return "", sourceInfo{}, fmt.Errorf("reading %s: %w", filepath.Base(deb), err)
		}
		if err := f.run(ctx, []string{"dpkg-deb", "--extract", deb, scratch}, ""); err != nil {
			return "", sourceInfo{}, fmt.Errorf("unpacking %s: %w", filepath.Base(deb), firstLine(err))
		}
		return filepath.Join(scratch, "usr/src", pkg+".tar.xz"), sourceInfo{Key: "sha256:" + file.SHA256, Origin: filepath.Base(deb)}, nil
	})
}

// aptDownload downloads a package into dir and returns its path. It uses the
// system's package lists, and lists of its own where those know nothing of the
// package or are out of date. Neither needs root.
func (f fetcher) aptDownload(ctx context.Context, spec Spec, pkg, dir string) (string, error) {
	download := []string{"apt-get", "--quiet", "download", pkg}
	if aptKnows(ctx, pkg) {
		deb, err := f.apt(ctx, download, pkg, dir)
		if err == nil || ctx.Err() != nil {
			return deb, err
		}
		f.progress("the package lists may be out of date: " + firstLine(err).Error())
	}

	state := filepath.Join(dir, "apt")
	for _, name := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(state, name), 0o755); err != nil {
			return "", fmt.Errorf("making a directory for apt: %w", err)
		}
	}
	conf := filepath.Join(state, "apt.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, aptConf, state), 0o644); err != nil {
		return "", fmt.Errorf("writing a configuration for apt: %w", err)
	}
	own := "--config-file=" + conf
	if _, err := f.apt(ctx, []string{"apt-get", "--quiet", own, "update"}, "", dir); err != nil {
		return "", hint.New(fmt.Errorf("fetching Debian's package lists: %w", firstLine(err)), "check the network and the package sources in /etc/apt")
	}
	if !aptKnows(ctx, pkg, own) {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", hint.Usage(fmt.Errorf("kernel %q: this system's package sources have no package %s", spec, pkg),
			"`apt-cache search ^linux-source` lists what there is; on another distribution, name a directory, a tarball or a URL")
	}
	deb, err := f.apt(ctx, []string{"apt-get", "--quiet", own, "download", pkg}, pkg, dir)
	if err != nil {
		return "", hint.New(fmt.Errorf("downloading %s: %w", pkg, firstLine(err)), "check the network and the package sources in /etc/apt")
	}
	return deb, nil
}

// apt runs an apt command in dir. When it downloads pkg, it returns the file.
func (f fetcher) apt(ctx context.Context, argv []string, pkg, dir string) (string, error) {
	if err := f.run(ctx, argv, dir); err != nil || pkg == "" {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(dir, pkg+"_*.deb"))
	if err != nil {
		return "", err
	}
	if len(debs) != 1 {
		return "", errors.New("apt-get downloaded no package file")
	}
	return debs[0], nil
}

// aptKnows tells whether apt can name a version of the package.
func aptKnows(ctx context.Context, pkg string, args ...string) bool {
	out, err := run.Cmd{Argv: append(append([]string{"apt-cache"}, args...), "--no-all-versions", "show", pkg)}.Output(ctx)
	return err == nil && len(out) > 0
}
