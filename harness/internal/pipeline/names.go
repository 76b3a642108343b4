// SPDX-License-Identifier: BSD-3-Clause

package pipeline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/target"
)

// This file looks up the names that users give. Every error is the user's
// mistake and has a hint.

// Arch returns the architecture of that name.
func Arch(name string) (target.Target, error) {
	t, err := target.Lookup(name)
	if err != nil {
		return t, hint.Usage(err, "use --arch "+strings.Join(target.Names(), " or --arch "))
	}
	return t, nil
}

// Profile checks that there is such a kernel configuration and returns its
// name.
func Profile(name string) (string, error) {
	if !slices.Contains(kernel.Profiles(), name) {
		return "", hint.Usage(fmt.Errorf("unknown profile %q", name), "use --profile "+strings.Join(kernel.Profiles(), " or --profile "))
	}
	return name, nil
}

// Kernel reads a kernel spec; an empty one means the default kernel.
func Kernel(text string) (kernel.Spec, error) {
	if text == "" {
		return kernel.Default()
	}
	return kernel.ParseSpec(text)
}

// CacheDir creates the cache directory and returns its absolute path.
func CacheDir(dir string) (string, error) {
	if dir == "" {
		return "", hint.Usage(errors.New("no cache directory: neither XDG_CACHE_HOME nor HOME is set"), "use --cache DIR")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	const advice = "choose another one with --cache DIR or XDG_CACHE_HOME"
	// Some contents have the path with all links followed in them.
	for _, follow := range []func(string) (string, error){filepath.Abs, makeAndFollow} {
		path, err := follow(dir)
		if err != nil {
			return "", hint.Usage(fmt.Errorf("making the cache directory: %w", err), advice)
		}
		if err := kernel.CheckPath(path); err != nil {
			return "", hint.Usage(fmt.Errorf("kernels cannot be built in the cache: %w", err), advice)
		}
	}
	return dir, nil
}

// makeAndFollow creates a directory and returns its path without links.
func makeAndFollow(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}
