// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/target"
)

// cacheFlag declares --cache. Its default follows the user's cache directory.
func (c *call) cacheFlag(to *string) {
	dir := ""
	if user, err := os.UserCacheDir(); err == nil {
		dir = filepath.Join(user, "kheaders")
	}
	c.flags.StringVar(to, "cache", dir, "keep results in `DIR` between runs")
}

// configFlag declares --config.
func (c *call) configFlag(to *string) {
	c.flags.StringVar(to, "config", "", "configure the kernel as in `FILE`: a whole .config, or a fragment to add to a small one")
}

// listFlag declares a flag that may be given several times.
func (c *call) listFlag(to *[]string, name, usage string) {
	c.flags.Func(name, usage, func(s string) error {
		*to = append(*to, s)
		return nil
	})
}

func (c *call) targetFlag() *string {
	return c.flags.String("arch", "", "the kernel's `ARCH`itecture: "+strings.Join(target.Names(), ", "))
}

func (c *call) compressorFlag(to *string) {
	c.flags.StringVar(to, "compressor", "xz", "make the archive with this `COMPRESSOR`: xz is small, go needs no other program")
}

// checkOutput refuses a file that can't be created, before any work is done for
// it.
func checkOutput(path string) error {
	if err := checkParent(path); err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return hint.Usage(fmt.Errorf("writing %s: it is a directory", path), "name a file in it")
	}
	return nil
}

// checkParent refuses a path whose directory does not exist.
func checkParent(path string) error {
	dir := filepath.Dir(filepath.Clean(path))
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", dir)
	}
	if err != nil {
		return hint.Usage(fmt.Errorf("writing %s: %w", path, err), "make the directory above it first, or choose another place")
	}
	return nil
}

// checkInput refuses a path that can't be an archive, such as a directory.
func checkInput(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory", path)
	}
	if err != nil {
		advice := "name a kheaders.tar.xz"
		if strings.HasPrefix(path, "/proc/") || strings.HasPrefix(path, "/sys/") {
			advice = "this kernel offers no headers there: sudo modprobe kheaders, if it has that module, or name a kheaders.tar.xz"
		}
		return hint.Usage(err, advice)
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "\t")
	return encoder.Encode(v)
}
