// SPDX-License-Identifier: BSD-3-Clause

package kmod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/module/source"
)

// Kernel is what a kernel's build says about the modules it loads.
type Kernel struct {
	// Dir is the object directory of a kernel whose modules have been built,
	// or a distribution's directory of headers.
	Dir string
	// Release is the kernel's release, as uname -r prints it.
	Release string
	// Signed says that the kernel refuses modules not signed with its key
	// (CONFIG_MODULE_SIG_FORCE).
	Signed bool
	// Compression is the suffix of the files that the kernel itself
	// decompresses (CONFIG_MODULE_DECOMPRESS): .xz, .zst, .gz or none.
	Compression string
	// OwnBuiltin says that the kernel's own kheaders is built into it
	// (CONFIG_IKHEADERS=y).
	OwnBuiltin bool
	// OwnModule is the path of the kernel's own kheaders.ko, or empty
	// (CONFIG_IKHEADERS=m).
	OwnModule string

	// clang says that the kernel was built by clang, so that its modules
	// must be too.
	clang bool
	// btf says that building a module needs pahole, to add type information
	// on top of the kernel's.
	btf bool
	// hash and key are what modules are signed with.
	hash, key string
}

// Where a kernel's build keeps what it signs modules with.
const (
	signProgram = "scripts/sign-file"
	certificate = "certs/signing_key.x509"
)

// The files that identify a kernel's build.
const (
	configFile = "include/config/auto.conf"
	// Not include/config/kernel.release: a distribution may put a version
	// there that differs from what the kernel reports, as Debian 12 does.
	releaseFile = "include/generated/utsrelease.h"
)

var reRelease = regexp.MustCompile(`(?m)^#define UTS_RELEASE "(.+)"$`)

// needed are the options that the module cannot work without. Without
// MODULE_UNLOAD it could be loaded only once.
var needed = []string{"CONFIG_MODULES", "CONFIG_PROC_FS", "CONFIG_MODULE_UNLOAD"}

// Examine looks into the build of a kernel. It returns a [hint.Usage] error if
// the module cannot be built against the kernel, or the kernel could not load
// it.
func Examine(dir string) (Kernel, error) {
	k, err := examine(dir)
	if err != nil {
		return Kernel{}, fmt.Errorf("looking at the kernel build: %w", err)
	}
	return k, nil
}

func examine(dir string) (Kernel, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Kernel{}, err
	}
	for _, n := range []struct{ file, hint string }{
		{"Makefile", "give the directory in which the kernel was built"},
		{configFile, "run make modules_prepare in it"},
		{releaseFile, "run make modules_prepare in it"},
		{symversFile, "run make modules in it"},
	} {
		if err := present(dir, n.file, n.hint); err != nil {
			return Kernel{}, err
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, releaseFile))
	if err != nil {
		return Kernel{}, err
	}
	release := reRelease.FindSubmatch(text)
	if release == nil {
		return Kernel{}, fmt.Errorf("%s does not contain the kernel's release", filepath.Join(dir, releaseFile))
	}
	k := Kernel{Dir: dir, Release: string(release[1])}
	config, err := readConfig(filepath.Join(dir, configFile))
	if err != nil {
		return Kernel{}, err
	}
	for _, option := range needed {
		if config[option] != "y" {
			return Kernel{}, hint.Usage(fmt.Errorf("the kernel in %s is built without %s", dir, option), "set "+option+"=y and build the kernel again")
		}
	}
	// Our own, built into the kernel.
	if config["CONFIG_IKHEADERS_PROC"] == "y" {
		return Kernel{}, hint.Usage(fmt.Errorf("the kernel in %s has /proc/kheaders.tar.xz built in (CONFIG_IKHEADERS_PROC=y)", dir), "it needs no module")
	}
	if err := exports(dir, k.Release, config); err != nil {
		return Kernel{}, err
	}
	k.clang = config["CONFIG_CC_IS_CLANG"] == "y"
	if config["CONFIG_MODULE_DECOMPRESS"] == "y" {
		for option, suffix := range map[string]string{
			"CONFIG_MODULE_COMPRESS_XZ": ".xz", "CONFIG_MODULE_COMPRESS_ZSTD": ".zst", "CONFIG_MODULE_COMPRESS_GZIP": ".gz",
		} {
			if config[option] == "y" {
				k.Compression = suffix
			}
		}
	}
	if config["CONFIG_DEBUG_INFO_BTF_MODULES"] == "y" {
		// Without a vmlinux to read the kernel's from, the build makes
		// no BTF.
		_, err := os.Stat(filepath.Join(dir, "vmlinux"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Kernel{}, err
		}
		k.btf = err == nil
	}
	switch config["CONFIG_IKHEADERS"] {
	case "y":
		k.OwnBuiltin = true
	case "m":
		// A distribution's directory of headers does not have it.
		own := filepath.Join(dir, "kernel", ModuleFile)
		if _, err := os.Stat(own); err == nil {
			k.OwnModule = own
		} else if !errors.Is(err, fs.ErrNotExist) {
			return Kernel{}, err
		}
	}
	if config["CONFIG_MODULE_SIG_FORCE"] == "y" {
		return k, k.signing(config)
	}
	return k, nil
}

// Own reports how a kernel has its own kheaders: y, m, or empty for none.
func Own(dir string) (string, error) {
	config, err := readConfig(filepath.Join(dir, configFile))
	if err != nil {
		return "", fmt.Errorf("looking at the kernel build: %w", err)
	}
	return config["CONFIG_IKHEADERS"], nil
}

// signing finds what modules are signed with.
func (k *Kernel) signing(config map[string]string) error {
	k.Signed = true
	k.hash = config["CONFIG_MODULE_SIG_HASH"]
	k.key = config["CONFIG_MODULE_SIG_KEY"]
	if strings.HasPrefix(k.key, "pkcs11:") {
		return nil // sign-file knows where to find that
	}
	if k.key != "" && !filepath.IsAbs(k.key) {
		k.key = filepath.Join(k.Dir, k.key)
	}
	for _, file := range []string{k.key, filepath.Join(k.Dir, certificate), filepath.Join(k.Dir, signProgram)} {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return hint.Usage(fmt.Errorf("the kernel in %s loads signed modules only (CONFIG_MODULE_SIG_FORCE), and %s, which is needed to sign, is missing", k.Dir, file),
				"sign where the kernel was built and its key is, or build one without CONFIG_MODULE_SIG_FORCE")
		} else if err != nil {
			return err
		}
	}
	return nil
}

// Certificate returns what identifies the key that modules are signed with, or
// nothing. A kernel generates a new key for itself each time it is built.
func (k Kernel) Certificate() (string, error) {
	if !k.Signed {
		return "", nil
	}
	text, err := os.ReadFile(filepath.Join(k.Dir, certificate))
	if err != nil {
		return "", fmt.Errorf("reading the kernel's certificate: %w", err)
	}
	return string(text), nil
}

// tools fails when a program is missing that a module's build would call late.
func (k Kernel) tools() error {
	if !k.btf {
		return nil
	}
	_, err := run.Look("pahole")
	return err
}

// present returns a usage error when a directory lacks a file.
func present(dir, file, advice string) error {
	_, err := os.Stat(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return hint.Usage(fmt.Errorf("the kernel build %s has no %s", dir, file), advice)
	}
	return err
}

// readConfig reads a kernel's auto.conf. It strips the quotes from strings.
func readConfig(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's configuration: %w", err)
	}
	config := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && strings.HasPrefix(key, "CONFIG_") {
			config[key] = strings.Trim(value, `"`)
		}
	}
	return config, nil
}

// The files that [Build] makes, in Dir.
const (
	// ModuleFile is the module to load.
	ModuleFile = source.ModuleName + ".ko"
	// UnsignedFile is the module without its signature, for a kernel that
	// loads signed modules only.
	UnsignedFile = source.ModuleName + ".unsigned.ko"
)

// Files returns the names of the files that [Build] makes for a kernel.
func (k Kernel) Files() []string {
	names := []string{ModuleFile}
	if k.Signed {
		names = append(names, UnsignedFile)
	}
	if k.Compression != "" {
		names = append(names, k.CompressedFile())
	}
	return names
}

// CompressedFile is the name of the module that the kernel itself decompresses,
// or empty.
func (k Kernel) CompressedFile() string {
	if k.Compression == "" {
		return ""
	}
	return ModuleFile + k.Compression
}
