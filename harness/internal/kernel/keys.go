// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/target"
)

// keys tells which part of a kernel's content its headers and its modules depend
// on, so that neither is made again after an edit elsewhere.
func (t *userTree) keys(k *Kernel, of target.Target) error {
	include, arch := "include/", "arch/"+of.SrcArch+"/"
	dirs := []string{include, arch + include}
	h := sha256.New()
	fmt.Fprintln(h, t.files.Digest(func(name string) bool {
		return slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(name, dir) })
	}))
	for _, dir := range dirs {
		if err := digestFiles(h, filepath.Join(k.Dir, dir)); err != nil {
			return fmt.Errorf("reading the generated headers: %w", err)
		}
	}
	k.HeadersKey = hex.EncodeToString(h.Sum(nil))

	fmt.Fprintln(h, t.files.Digest(func(name string) bool {
		switch {
		case strings.HasPrefix(name, "scripts/"), strings.HasPrefix(name, "tools/"):
			return true
		}
		return name == "Makefile" || strings.HasPrefix(name, arch) && filepath.Ext(name) != ".c"
	}))
	names := []string{"Module.symvers", "include/config/auto.conf"}
	missing, err := k.Missing("CONFIG_DEBUG_INFO_BTF_MODULES")
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		names = append(names, "vmlinux") // whose types a module's refer to
	}
	for _, name := range names {
		file, err := cache.Digest(filepath.Join(k.Dir, name))
		if err != nil {
			return fmt.Errorf("reading what modules are built from: %w", err)
		}
		fmt.Fprintln(h, name, file.SHA256)
	}
	k.ModulesKey = hex.EncodeToString(h.Sum(nil))
	return nil
}

// digestFiles writes the names and contents of an object tree's headers.
func digestFiles(w io.Writer, root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == root {
			return nil
		}
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".h" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		fmt.Fprintf(w, "%d:%s%d:%s", len(name), name, len(text), text)
		return err
	})
}
