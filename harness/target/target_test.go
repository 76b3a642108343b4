// SPDX-License-Identifier: BSD-3-Clause

package target

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"path"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	if want := []string{"x86_64", "arm64"}; !slices.Equal(Names(), want) {
		t.Errorf("the names are %q, want %q", Names(), want)
	}
	for i, want := range All() {
		got, err := Lookup(want.Name)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", want.Name, got, err)
		}
		if Names()[i] != want.Name {
			t.Errorf("name %d is %s, and target %d is %s", i, Names()[i], i, want.Name)
		}
	}
	for _, name := range []string{"", "x86", "amd64", "aarch64", "X86_64", " arm64"} {
		got, err := Lookup(name)
		if err == nil || !strings.Contains(err.Error(), "known are x86_64, arm64") {
			t.Errorf("%q is %q, %v", name, got.Name, err)
		}
	}
	// Callers may do to the list as they like.
	All()[0].Name = "changed"
	if All()[0].Name == "changed" {
		t.Error("All returns the table itself")
	}
}

// TestComplete holds that a new target leaves no field out. Those listed are
// what a machine may do without.
func TestComplete(t *testing.T) {
	optional := []string{"QEMUArgs", "KernelArgs", "TCGKernelArgs", "TCGTicksArg"}
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
	// What tells targets apart must do so.
	for _, field := range []string{"Name", "GOARCH", "SrcArch", "CrossPrefix", "Machine", "Debian", "QEMU"} {
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

// TestProbeX86 reads the probe as QEMU does: an ELF file of x86_64 with a note
// that names its 32-bit entry, which is code in a loaded segment.
func TestProbeX86(t *testing.T) {
	a, err := Lookup("x86_64")
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(a.ProbeImage))
	if err != nil {
		t.Fatal(err)
	}
	if f.Machine != a.Machine || f.Type != elf.ET_EXEC || f.Class != elf.ELFCLASS64 || len(f.Progs) != 2 {
		t.Fatalf("the header is %+v", f.FileHeader)
	}
	load, note := f.Progs[0], f.Progs[1]
	if load.Type != elf.PT_LOAD || load.Filesz != uint64(len(a.ProbeImage)) || load.Off != 0 {
		t.Errorf("the segment is %+v in a file of %d bytes", load.ProgHeader, len(a.ProbeImage))
	}
	if note.Type != elf.PT_NOTE {
		t.Fatalf("the second segment is %+v", note.ProgHeader)
	}
	text, err := io.ReadAll(note.Open())
	if err != nil {
		t.Fatal(err)
	}
	var n struct {
		NameSize, ValueSize, Type uint32
		Name                      [4]byte
		Entry                     uint64
	}
	if err := binary.Read(bytes.NewReader(text), binary.LittleEndian, &n); err != nil {
		t.Fatal(err)
	}
	const physEntry = 18 // XEN_ELFNOTE_PHYS32_ENTRY
	if n.NameSize != 4 || n.ValueSize != 8 || n.Type != physEntry || string(n.Name[:]) != "Xen\x00" || len(text) != binary.Size(n) {
		t.Errorf("the note is %+v in %d bytes", n, len(text))
	}
	if n.Entry != f.Entry || n.Entry < load.Paddr || n.Entry >= load.Paddr+load.Filesz {
		t.Fatalf("the entry is %#x", n.Entry)
	}
}

// TestProbeARM64 reads the probe as QEMU does: by the header of an arm64 Image
// and a branch over it.
func TestProbeARM64(t *testing.T) {
	a, err := Lookup("arm64")
	if err != nil {
		t.Fatal(err)
	}
	var h struct {
		Code                         [2]uint32
		TextOffset, ImageSize, Flags uint64
		_                            [3]uint64
		Magic, _                     uint32
	}
	if err := binary.Read(bytes.NewReader(a.ProbeImage), binary.LittleEndian, &h); err != nil {
		t.Fatal(err)
	}
	if h.Magic != 0x644d5241 { // "ARM\x64"
		t.Errorf("the magic number is %#x", h.Magic)
	}
	if h.ImageSize < uint64(len(a.ProbeImage)) || h.Flags&1 != 0 {
		t.Errorf("the header is %+v", h)
	}
	// b: opcode 0b000101, then a distance in words.
	if h.Code[0]>>26 != 0b000101 {
		t.Fatalf("the first instruction is %#x", h.Code[0])
	}
	if to := 4 * (h.Code[0] & (1<<26 - 1)); int(to) != binary.Size(h) || int(to) >= len(a.ProbeImage) {
		t.Errorf("the branch goes to byte %d of %d", to, len(a.ProbeImage))
	}
	if code := a.ProbeImage[binary.Size(h):]; len(code) != 16 || !bytes.HasSuffix(code, []byte{0, 0, 0, 0x14}) {
		t.Errorf("the code is % x", code)
	}
}
