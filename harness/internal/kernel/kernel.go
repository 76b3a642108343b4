// SPDX-License-Identifier: BSD-3-Clause

// Package kernel turns a kernel spec into a source tree, and a source tree into
// a small kernel to test with. Both are kept in the cache: a kernel is rebuilt
// only when its source, its configuration, the compiler or the build's
// variables have changed, and finding that out takes no call of make.
//
// In the store, an entry "source" has an unpacked tarball in linux/, an entry
// "kernel" has an object tree in build/ and its configuration in config, and an
// entry "image" has the unpacked packages of a kernel that Debian built. The
// object tree is complete: modules are built against it with make's M=. The
// store's directory "index" has what is known about the user's own files.
//
// What a user edits is built in place: an entry "tree" has a copy of the user's
// tree in linux/, and object trees below objects/, each of which becomes one
// kernel after the other.
package kernel

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/target"
)

// BuildOptions say how a kernel is built.
type BuildOptions struct {
	// Target is the architecture.
	Target target.Target
	// Profile selects a config fragment; empty means [DefaultProfile].
	Profile string
	// Config is the caller's own config fragment, and Variables are
	// variables for make, in addition to ours.
	Config    string
	Variables []string
	// User is the user's configuration. A whole one takes the place of
	// tinyconfig, and ours is added to it.
	User Configuration
	// Inputs identify what else goes into the build.
	Inputs []string
	// Jobs is make's -j. Zero means one per processor.
	Jobs int
	// Log is the file to which make's output is appended. Empty means one
	// beside the cache entry.
	Log string
	// Progress, if set, receives a line for each step that takes time, with
	// the command that runs. It may be called from another goroutine, but
	// never from two at once.
	Progress func(string)
}

// Kernel is a finished kernel, built by us or by a distribution.
type Kernel struct {
	// Dir is the object tree, O= in kbuild's terms. Nobody may write to it;
	// building modules against it does not.
	Dir string
	// SourceDir is the source tree that it was built from.
	SourceDir string
	// Image is the file to boot.
	Image string
	// Config is the final configuration.
	Config string
	// Instrumented says that the compiler put checks everywhere (KASAN),
	// which make the kernel several times slower.
	Instrumented bool
	// Release is what uname -r says on it.
	Release string
	// Version is the kernel's version, which a distribution's release need
	// not contain.
	Version string
	// Modules is the directory of the kernel's own modules, or empty when it
	// needs none.
	Modules string
	// Key identifies the kernel: everything it was built from. HeadersKey
	// identifies the headers alone, and ModulesKey what modules are built from.
	Key, HeadersKey, ModulesKey string
	// Log is the file with make's output, or empty when nothing was built.
	Log string
	// How says where it came from: "built", "fetched" or "from the cache".
	How string
	// Cached says that it was already built or fetched before.
	Cached bool

	named string // what people call SourceDir
}

const (
	kernelKind  = "kernel" // of entries in the store
	objectName  = "build"
	configName  = "config"
	releaseName = "include/config/kernel.release"
)

// how returns how a kernel was made, or that its entry was already there.
func how(made string, entry cache.Entry) string {
	if entry.Hit {
		return "from the cache"
	}
	return made
}

// Missing returns the given options, such as CONFIG_BPF_SYSCALL, that are not
// built into the kernel.
func (k Kernel) Missing(options ...string) ([]string, error) {
	config, err := os.ReadFile(k.Config)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's configuration: %w", err)
	}
	return slices.DeleteFunc(slices.Clone(options), func(option string) bool {
		return strings.Contains("\n"+string(config), "\n"+option+"=y\n")
	}), nil
}
