// SPDX-License-Identifier: BSD-3-Clause

package kmod

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ulikunitz/xz"
)

// Driver is one of a kernel's own modules.
type Driver struct {
	// Name is its name in the kernel, with underscores.
	Name string
	// Data is the .ko, uncompressed.
	Data []byte
}

// Drivers returns the named modules of a kernel and everything they depend on,
// in an order in which they can be loaded. dir is the kernel's
// lib/modules/RELEASE. It need not have the lists that depmod makes when a
// kernel is installed. Drivers leaves out what is built into the kernel.
func Drivers(dir string, names ...string) ([]Driver, error) {
	l := loader{files: map[string]string{}, done: map[string]bool{}}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("reading the list of built-in modules: %w", err)
	}
	for line := range strings.Lines(string(builtin)) {
		l.done[driverName(strings.TrimSpace(line))] = true
	}
	err = filepath.WalkDir(filepath.Join(dir, "kernel"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(d.Name(), ".ko") {
			l.files[driverName(path)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for the kernel's modules: %w", err)
	}
	for _, name := range names {
		if err := l.add(name); err != nil {
			return nil, err
		}
	}
	return l.order, nil
}

// driverName returns the kernel's name for the module in a file.
func driverName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// loader puts modules into an order.
type loader struct {
	// files maps names to the files of all modules. done has the names of
	// those that will be in the kernel by then.
	files map[string]string
	done  map[string]bool
	order []Driver
}

func (l *loader) add(name string) error {
	if l.done[name] {
		return nil
	}
	l.done[name] = true // set before its dependencies, so that a cycle ends
	path, ok := l.files[name]
	if !ok {
		return fmt.Errorf("the kernel has no driver %s, neither built in nor as a module", name)
	}
	data, err := readModule(path)
	if err != nil {
		return fmt.Errorf("reading the driver %s: %w", name, err)
	}
	_, modinfo, err := parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for needed := range strings.FieldsFuncSeq(modinfo["depends"], func(r rune) bool { return r == ',' }) {
		if err := l.add(driverName(needed)); err != nil {
			return fmt.Errorf("%s needs %s: %w", name, needed, err)
		}
	}
	l.order = append(l.order, Driver{Name: name, Data: data})
	return nil
}

// readModule reads a .ko or a .ko.xz.
func readModule(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil || filepath.Ext(path) == ".ko" {
		return data, err
	}
	if filepath.Ext(path) != ".xz" {
		return nil, fmt.Errorf("%s has an unknown kind of compression", path)
	}
	r, err := xz.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("decompressing %s: %w", path, err)
	}
	data, err = io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("decompressing %s: %w", path, err)
	}
	return data, nil
}
