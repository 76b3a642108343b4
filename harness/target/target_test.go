// SPDX-License-Identifier: BSD-3-Clause

package target

import (
	"debug/elf"
	"path"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	for i, want := range All() {
		got, err := Lookup(want.Name)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", want.Name, got, err)
		}
		if Names()[i] != want.Name {
			t.Errorf("name %d is %s, and target %d is %s", i, Names()[i], i, want.Name)
		}
	}
	for alias, name := range map[string]string{"amd64": "x86_64", "aarch64": "arm64"} {
		if got, err := Lookup(alias); err != nil || got.Name != name {
			t.Errorf("%q is %q, %v", alias, got.Name, err)
		}
	}
	for _, name := range []string{"", "x86", "AMD64", "X86_64", " arm64"} {
		got, err := Lookup(name)
		if err == nil || !strings.Contains(err.Error(), "known are "+strings.Join(Names(), ", ")) {
			t.Errorf("%q is %q, %v", name, got.Name, err)
		}
	}
	// Callers may change the list.
	All()[0].Name = "changed"
	if All()[0].Name == "changed" {
		t.Error("All returns the table itself")
	}
}

// TestComplete checks that a new target leaves no field out, except for those
// that a machine can do without.
func TestComplete(t *testing.T) {
	optional := []string{
		"GoLevel", "Objtool", "Firmware", "FirmwarePackage", "PanicDevice", "KernelArgs", "TCGKernelArgs", "TCGTicksArg",
	}
	for _, a := range All() {
		v := reflect.ValueOf(a)
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if v.Field(i).IsZero() && !slices.Contains(optional, name) {
				t.Errorf("%s has no %s", a.Name, name)
			}
		}
		if a.Slowdown < 1 {
			t.Errorf("%s is %v times slower than KVM", a.Name, a.Slowdown)
		}
		if !strings.HasSuffix(a.CrossPrefix, "-") {
			t.Errorf("%s has the cross prefix %q", a.Name, a.CrossPrefix)
		}
		if (a.Firmware == "") != (a.FirmwarePackage == "") {
			t.Errorf("%s has the firmware %q from %q", a.Name, a.Firmware, a.FirmwarePackage)
		}
		if want := "GO" + strings.ToUpper(a.GOARCH) + "="; a.GoLevel != "" && !strings.HasPrefix(a.GoLevel, want) {
			t.Errorf("%s has %q, want %s…", a.Name, a.GoLevel, want)
		}
		if path.IsAbs(a.ImagePath) || path.Base(a.ImagePath) != a.ImageTarget {
			t.Errorf("%s: make %s makes %s", a.Name, a.ImageTarget, a.ImagePath)
		}
		if a.Native() != (a.GOARCH == runtime.GOARCH) {
			t.Errorf("%s is native: %v", a.Name, a.Native())
		}
		if want := map[bool]string{true: "", false: a.CrossPrefix}[a.Native()]; a.Cross() != want {
			t.Errorf("%s is compiled with the prefix %q, want %q", a.Name, a.Cross(), want)
		}
	}
	// These fields tell targets apart.
	for _, field := range []string{"Name", "Uname", "GOARCH", "CrossPrefix", "Debian", "DebianFlavour", "QEMU"} {
		seen := map[any]string{}
		for _, a := range All() {
			value := reflect.ValueOf(a).FieldByName(field).Interface()
			if other, ok := seen[value]; ok {
				t.Errorf("%s and %s have the same %s", other, a.Name, field)
			}
			seen[value] = a.Name
		}
	}
}

// TestNames checks that no two architectures share a name.
func TestNames(t *testing.T) {
	for _, a := range All() {
		for _, name := range []string{a.Name, a.Uname, a.Debian, a.GOARCH} {
			if got, err := Lookup(name); err != nil || got.Name != a.Name {
				t.Errorf("%s is %q, %v, want %s", name, got.Name, err, a.Name)
			}
		}
	}
}

func TestLookupELF(t *testing.T) {
	for _, a := range All() {
		if got, ok := LookupELF(a.Machine, a.ByteOrder); !ok || got.Name != a.Name {
			t.Errorf("%v, %v is %q, want %s", a.Machine, a.ByteOrder, got.Name, a.Name)
		}
	}
	if got, ok := LookupELF(elf.EM_VAX, elf.ELFDATA2LSB); ok {
		t.Errorf("a VAX is %s", got.Name)
	}
	if got, ok := LookupELF(All()[0].Machine, elf.ELFDATANONE); ok {
		t.Errorf("a file of no byte order is for %s", got.Name)
	}
}

func TestByteOrder(t *testing.T) {
	for order, want := range map[elf.Data]string{elf.ELFDATA2LSB: "bpfel", elf.ELFDATA2MSB: "bpfeb"} {
		if got := (Target{ByteOrder: order}).BPF(); got != want {
			t.Errorf("BPF for %v is %s, want %s", order, got, want)
		}
	}
}

func TestTransport(t *testing.T) {
	for transport, want := range map[Transport]string{PCI: "virtio_pci", CCW: "virtio_ccw", MMIO: "virtio_mmio"} {
		if got := transport.Driver(); got != want {
			t.Errorf("the driver for %s is %s, want %s", transport, got, want)
		}
	}
}

func TestQuickest(t *testing.T) {
	for _, a := range All() {
		if quickest := Quickest(); quickest.BootBudget > a.BootBudget {
			t.Errorf("%s is slower than %s", quickest.Name, a.Name)
		}
	}
}

func TestGoEnv(t *testing.T) {
	for _, a := range All() {
		if env := a.GoEnv(); !slices.Contains(env, "GOARCH="+a.GOARCH) || a.GoLevel != "" && !slices.Contains(env, a.GoLevel) || slices.Contains(env, "") {
			t.Errorf("%s is compiled for with %q", a.Name, env)
		}
	}
}
