// SPDX-License-Identifier: BSD-3-Clause

package kmod_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/kheaders/kheaders/harness/internal/kmod"
)

// modulesDir creates a kernel's directory of modules: files by path, each with
// the modules it depends on.
func modulesDir(t *testing.T, builtin string, depends map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("modules.builtin", []byte(builtin))
	write("kernel/lib/README", nil)
	for name, needs := range depends {
		data := driver(needs)
		if strings.HasSuffix(name, ".xz") {
			var packed bytes.Buffer
			w, err := xz.NewWriter(&packed)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			data = packed.Bytes()
		}
		write("kernel/"+name, data)
	}
	return dir
}

// driver returns a .ko that depends on others.
func driver(depends string) []byte {
	return module("", "depends="+depends+"\x00vermagic="+vermagic+"\x00").bytes()
}

func TestDrivers(t *testing.T) {
	dir := modulesDir(t, "kernel/drivers/virtio/virtio-built-in.ko\n", map[string]string{
		"drivers/char/virtio_console.ko":      "virtio_ring,virtio",
		"drivers/virtio/virtio.ko.xz":         "virtio-ring",
		"drivers/virtio/virtio-ring.ko":       "",
		"drivers/virtio/virtio_pci.ko":        "virtio,virtio_ring,virtio_pci_modern,virtio_built_in",
		"drivers/virtio/virtio_pci_modern.ko": "",
		"drivers/net/unwanted.ko":             "virtio",
	})
	got, err := kmod.Drivers(dir, "virtio_pci", "virtio_built_in", "virtio_console")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range got {
		names = append(names, d.Name)
		if !bytes.HasPrefix(d.Data, []byte("\x7fELF")) {
			t.Errorf("%s is %q…, no module", d.Name, d.Data[:4])
		}
	}
	if want := []string{"virtio_ring", "virtio", "virtio_pci_modern", "virtio_pci", "virtio_console"}; !slices.Equal(names, want) {
		t.Errorf("the order is %v, want %v", names, want)
	}
}

func TestDriversRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"missing", nil, "the kernel has no driver a, neither built in nor as a module"},
		{"a dependency is missing", map[string]string{"a.ko": "b"}, "a needs b: the kernel has no driver b"},
		{"compressed otherwise", map[string]string{"a.ko.zst": ""}, "a.ko.zst has an unknown kind of compression"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := kmod.Drivers(modulesDir(t, "", test.files), "a")
			if err == nil || len(got) > 0 || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Drivers = %d drivers, error %v; want %q", len(got), err, test.want)
			}
		})
	}
	dir := modulesDir(t, "", map[string]string{"a.ko": ""})
	for name, data := range map[string]string{"a.ko": "text", "a.ko.xz": "no xz"} {
		if err := os.RemoveAll(filepath.Join(dir, "kernel")); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, "kernel"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "kernel", name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := kmod.Drivers(dir, "a"); err == nil {
			t.Errorf("%s that is %q was taken", name, data)
		}
	}
	if err := os.Remove(filepath.Join(dir, "modules.builtin")); err != nil {
		t.Fatal(err)
	}
	if _, err := kmod.Drivers(dir); err == nil {
		t.Error("a directory without modules.builtin was taken")
	}
}
