// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/doctor"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/snapshot"
	"github.com/kheaders/kheaders/harness/target"
)

// imageFormat is part of every image's key. It changes with the layout of the
// cache entries.
const imageFormat = "debian image 2"

// image is the kernel that Debian has built for a series such as 6.12.
type image struct{ version string }

func (i image) facts() facts {
	return facts{fromSource: i.fromSource(), headerPackages: true, uses: []string{doctor.Image}}
}

// fromSource is the spec that builds the same kernel from source.
func (i image) fromSource() string { return "debian:" + i.version }

func parseImage(spec string) (origin, error) {
	version, ok := strings.CutPrefix(spec, "debian-image:")
	if !ok {
		return nil, nil
	}
	if !debianVersion.MatchString(version) {
		return nil, hint.Usage(fmt.Errorf("kernel %q names no version of Debian's linux-image packages", spec),
			"write debian-image:6.1; `apt-cache search ^linux-headers-.*-cloud` lists what there is")
	}
	return image{version}, nil
}

// imageInfo is what an entry of unpacked packages records about itself.
type imageInfo struct {
	// Release is what uname -r says, Version the version it is based on.
	Release string `json:"release"`
	Version string `json:"version"`
	// Common is the name of the package with the headers common to all
	// flavours.
	Common string `json:"common"`
	// Image, Config and Modules are the paths of these, below the entry's
	// directory.
	Image   string `json:"image"`
	Config  string `json:"config"`
	Modules string `json:"modules"`
	// Packages are the files that were unpacked, and their digests.
	Packages map[string]cache.File `json:"packages"`
}

const imageInfoName = "image.json"

// fetch fetches the kernels for all targets.
func (i image) fetch(ctx context.Context, f fetcher) (Source, error) {
	kernels := map[string]Kernel{}
	for _, t := range f.targets {
		k, err := i.fetchFor(ctx, f, t)
		if err != nil {
			return Source{}, err
		}
		kernels[t.Name] = k
	}
	return Source{build: prebuilt(kernels)}, nil
}

// prebuilt returns a build function that picks one of the finished kernels, by
// target.
func prebuilt(kernels map[string]Kernel) func(context.Context, cache.Store, Source, BuildOptions) (Kernel, error) {
	return func(_ context.Context, _ cache.Store, _ Source, o BuildOptions) (Kernel, error) {
		k, ok := kernels[o.Target.Name]
		if !ok {
			return Kernel{}, fmt.Errorf("the kernel was not fetched for %s", o.Target.Name)
		}
		return k, nil
	}
}

func (i image) fetchFor(ctx context.Context, f fetcher, t target.Target) (Kernel, error) {
	// The path is in the key because a makefile in the entry contains it.
	root, err := f.store.Root("image")
	if err != nil {
		return Kernel{}, err
	}
	key := cache.KeyOf(imageFormat, filepath.Dir(root), i.version, t.DebianFlavour, runtime.GOARCH)
	entry, err := f.store.Get(ctx, "image", key, func(ctx context.Context, dir string) ([]string, error) {
		outputs, err := i.fill(ctx, f, t, dir)
		if err != nil {
			return nil, diskFull(err, dir)
		}
		return outputs, snapshot.SyncFileSystem(dir)
	})
	if err != nil {
		return Kernel{}, err
	}
	text, err := os.ReadFile(entry.Path(imageInfoName))
	if err != nil {
		return Kernel{}, fmt.Errorf("reading what is known about the image: %w", err)
	}
	var info imageInfo
	if err := json.Unmarshal(text, &info); err != nil {
		return Kernel{}, fmt.Errorf("reading what is known about the image: %w", err)
	}
	return Kernel{
		Dir:       entry.Path(info.headers()),
		SourceDir: entry.Path(filepath.Join("usr/src", info.Common)),
		Image:     entry.Path(info.Image),
		Config:    entry.Path(info.Config),
		Release:   info.Release,
		Version:   info.Version,
		Modules:   entry.Path(info.Modules),
		Key:       string(cache.KeyOf(imageFormat, entry.Dir, string(text))),
		How:       how("fetched", entry),
		Cached:    entry.Hit,
	}, nil
}

// headers is where the packages put the flavour's headers.
func (i imageInfo) headers() string { return "usr/src/linux-headers-" + i.Release }

// locate finds the kernel's files among the packages unpacked into dir.
func (i *imageInfo) locate(dir string) error {
	first := func(names ...string) (string, error) {
		for _, name := range names {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return name, nil
			}
		}
		return "", hint.New(fmt.Errorf("the packages of %s have no %s", i.Release, strings.Join(names, " and no ")), unknownLayout)
	}
	// Debian 13 moved /lib to /usr/lib, and Debian 14 moved all of a kernel
	// to where its modules are.
	builtin, err := first("lib/modules/"+i.Release+"/modules.builtin", "usr/lib/modules/"+i.Release+"/modules.builtin")
	if err != nil {
		return err
	}
	i.Modules = filepath.Dir(builtin)
	if i.Image, err = first("boot/vmlinuz-"+i.Release, i.Modules+"/vmlinuz"); err != nil {
		return err
	}
	i.Config, err = first("boot/config-"+i.Release, i.Modules+"/config")
	return err
}

// unknownLayout is the advice for packages with a different layout.
const unknownLayout = "this release of Debian has an unknown layout for its kernels; kernel debian:VERSION is built from source"

// fill downloads and unpacks the packages of an image: the kernel, its headers
// in two parts, and the programs that build modules against them. Those
// programs are for the host, whatever the kernel's architecture is.
func (i image) fill(ctx context.Context, f fetcher, t target.Target, dir string) ([]string, error) {
	if err := f.needDebian("apt-get", "dpkg-deb", "xz"); err != nil {
		return nil, err
	}
	scratch := filepath.Join(dir, "scratch")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return nil, fmt.Errorf("making a directory for the downloads: %w", err)
	}
	arch, suffix := "", ""
	if !t.Native() {
		arch, suffix = t.Debian, ":"+t.Debian
	}
	var info imageInfo
	var debs []string
	err := f.withApt(ctx, scratch, arch, func(a apt) error {
		found, packages, err := a.resolve(ctx, i, t, suffix)
		if err != nil {
			return err
		}
		info = found
		debs, err = a.download(ctx, packages...)
		return err
	})
	if errors.Is(err, errNoPackage) {
		err = hint.Usage(fmt.Errorf("kernel %q: %w", f.spec, err), "`apt-cache search ^linux-headers-.*-"+t.DebianFlavour+"` lists what there is; "+i.fromSource()+" builds a kernel from source")
	}
	if err != nil {
		return nil, err
	}
	info.Packages = map[string]cache.File{}
	for _, deb := range debs {
		if info.Packages[filepath.Base(deb)], err = cache.Digest(deb); err != nil {
			return nil, fmt.Errorf("reading %s: %w", filepath.Base(deb), err)
		}
		if err := f.unpackDeb(ctx, deb, dir); err != nil {
			return nil, err
		}
	}
	if err := os.RemoveAll(scratch); err != nil {
		return nil, fmt.Errorf("removing the downloads: %w", err)
	}
	if err := info.locate(dir); err != nil {
		return nil, err
	}
	common := filepath.Join("usr/src", info.Common)
	if info.Version, err = makefileVersionOf(filepath.Join(dir, common)); err != nil {
		return nil, fmt.Errorf("%s: %w", info.Common, err)
	}
	if err := relocate(dir, filepath.Join(info.headers(), "Makefile"), common); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(info, "", "\t")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, imageInfoName), append(text, '\n'), 0o644); err != nil {
		return nil, fmt.Errorf("writing what is known about the image: %w", err)
	}
	outputs := []string{imageInfoName, info.Image, info.Config, filepath.Join(common, "Makefile"), filepath.Join(info.Modules, "modules.builtin")}
	for _, name := range []string{"Makefile", "Module.symvers", "include/config/auto.conf", "include/generated/autoconf.h", "scripts/mod/modpost"} {
		outputs = append(outputs, filepath.Join(info.headers(), name))
	}
	return outputs, nil
}

// resolve finds the newest kernel of a series, through the package that always
// depends on its headers, and the packages that it consists of. It appends
// suffix to the names of those for the target.
func (a apt) resolve(ctx context.Context, i image, t target.Target, suffix string) (info imageInfo, packages []string, err error) {
	// A series that is not the system's main one has its version in the
	// package's name.
	headers := ""
	for _, name := range []string{"linux-headers-" + i.version + "-" + t.DebianFlavour, "linux-headers-" + t.DebianFlavour} {
		fields, err := a.show(ctx, name+suffix)
		if err == nil && isVersion(fields["Version"], i.version) {
			headers = dependency(fields["Depends"], "linux-headers-")
			if dependency(fields["Depends"], "linux-kbuild-") != "" {
				headers = name // this may also be the headers of one kernel alone
			}
			break
		}
		if ctx.Err() != nil {
			return imageInfo{}, nil, err
		}
	}
	if headers == "" {
		return imageInfo{}, nil, fmt.Errorf("%w linux-headers-%s of version %s", errNoPackage, t.DebianFlavour, i.version)
	}
	fields, err := a.show(ctx, headers+suffix)
	if err != nil {
		return imageInfo{}, nil, err
	}
	info.Release = strings.TrimPrefix(headers, "linux-headers-")
	info.Common = dependency(fields["Depends"], "linux-headers-")
	kbuild := dependency(fields["Depends"], "linux-kbuild-")
	if info.Common == "" || kbuild == "" {
		return imageInfo{}, nil, hint.New(fmt.Errorf("%s depends on no common headers or on no linux-kbuild, but on %q", headers, fields["Depends"]),
			i.fromSource()+" builds a kernel from source")
	}
	packages = []string{headers + suffix, info.Common, kbuild}
	image := "linux-image-" + info.Release
	if fields, err = a.show(ctx, image+suffix); err != nil {
		return imageInfo{}, nil, err
	}
	packages = append(packages, image+suffix)
	// Since Debian 14, linux-image is empty and depends on these.
	for _, part := range []string{"linux-binary-", "linux-modules-", "linux-base-"} {
		if dependency(fields["Depends"], part+info.Release) != "" {
			packages = append(packages, part+info.Release+suffix)
		}
	}
	return info, packages, nil
}

// isVersion reports whether a Debian version belongs to a series: 6.1.192-2
// belongs to 6.1, and 6.12.1-1 does not.
func isVersion(version, series string) bool {
	rest, ok := strings.CutPrefix(version, series)
	return ok && (rest == "" || strings.ContainsAny(rest[:1], ".-~+"))
}

// dependency returns the first package in a Depends field with that prefix.
func dependency(depends, prefix string) string {
	for name := range strings.FieldsFuncSeq(depends, func(r rune) bool { return r == ',' || r == '|' }) {
		name, _, _ = strings.Cut(strings.TrimSpace(name), " ")
		if strings.HasPrefix(name, prefix) {
			return name
		}
	}
	return ""
}

var (
	reInclude = regexp.MustCompile(`(?m)^include /usr/src/(\S+)/Makefile$`)
	// Since Debian 14, KBUILD_OUTPUT names such a path too.
	reInstalled = regexp.MustCompile(`(?m)^(include |KBUILD_OUTPUT=)/usr/src/`)
)

// relocate makes the flavour's makefile find itself and the common one below
// dir instead of where the packages would be installed.
func relocate(dir, makefile, common string) error {
	path := filepath.Join(dir, makefile)
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the makefile of the headers: %w", err)
	}
	m := reInclude.FindSubmatch(text)
	if m == nil || string(m[1]) != filepath.Base(common) {
		return hint.New(fmt.Errorf("the makefile of the headers does not include that of %s: %q", filepath.Base(common), text), unknownLayout)
	}
	text = reInstalled.ReplaceAll(text, []byte("${1}"+strings.ReplaceAll(filepath.Join(dir, "usr/src"), "$", "$$")+"/"))
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("writing the makefile of the headers: %w", err)
	}
	return nil
}
