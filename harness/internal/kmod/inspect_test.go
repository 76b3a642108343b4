// SPDX-License-Identifier: BSD-3-Clause

package kmod_test

import (
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kmod"
	"github.com/kheaders/kheaders/harness/target"
)

const (
	archive  = "not really xz"
	vermagic = "6.12.117-kheaders SMP mod_unload "
	modinfo  = "name=kheaders\x00author=one\x00author=two\x00vermagic=" + vermagic + "\x00"
)

// first and second are architectures with the byte order of [module].
var first, second = target.All()[0], target.All()[1]

func digest(data string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(data))) }

func TestParse(t *testing.T) {
	got, err := kmod.Parse(module(archive, modinfo).bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := kmod.Info{
		Machine: first.Machine, ByteOrder: first.ByteOrder,
		Name:     "kheaders",
		Vermagic: vermagic,
		SHA256:   digest(archive),
		Size:     int64(len(archive)),
		Modinfo:  map[string]string{"name": "kheaders", "author": "one", "vermagic": vermagic},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
	if got := got.Release(); got != "6.12.117-kheaders" {
		t.Errorf("Release() = %q", got)
	}
}

// addresses are what sections may have. The linker scripts of new kernels give
// some to those of modules.
var addresses = [][]uint64{
	{0, 0},
	{1, 0x260},
	{0x260, 0},
	{0, 1 << 20},
	{0x20000, 0x10000},
	{0xffff800080000000, 0xffff800081000000},
	{1<<64 - 0x2000, 1<<64 - 0x1000},
}

// In a module, symbols count from the start of their sections, whatever the
// addresses of these.
func TestParseAddresses(t *testing.T) {
	for _, at := range addresses {
		for _, o := range []object{module(archive, modinfo), module(archive, modinfo).swapped()} {
			o.addresses = at
			info, err := kmod.Parse(o.bytes())
			if err != nil || info.SHA256 != digest(archive) || info.Vermagic != vermagic {
				t.Errorf("sections at %#x: %+v, %v", at, info, err)
			}
			o = o.linked(elf.ET_REL, at...)
			if n := at[o.symbols[0].section-1]; n < 0x100 {
				continue
			}
			if _, err := kmod.Parse(o.bytes()); !errors.Is(err, kmod.ErrNoArchive) {
				t.Errorf("sections at %#x, and the symbols as well: error %v, want %v", at, err, kmod.ErrNoArchive)
			}
		}
	}
}

// In a kernel, they count.
func TestParseKernelAddresses(t *testing.T) {
	for _, typ := range []elf.Type{elf.ET_EXEC, elf.ET_DYN} {
		for _, at := range addresses {
			for _, o := range []object{module(archive, ""), module(archive, "").swapped()} {
				info, err := kmod.ParseKernel(o.linked(typ, at...).bytes())
				if err != nil || info.SHA256 != digest(archive) {
					t.Errorf("%v with sections at %#x: %+v, %v", typ, at, info, err)
				}
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*object)
		want   error
		text   string
	}{
		"an executable":      {func(o *object) { o.typ = elf.ET_EXEC }, kmod.ErrNotModule, "ET_EXEC"},
		"no .modinfo":        {func(o *object) { o.sections[1].name = ".comment" }, kmod.ErrNotModule, ".modinfo"},
		"compressed section": {func(o *object) { o.sections[0].flags |= elf.SHF_COMPRESSED }, kmod.ErrNotModule, ".rodata"},
		"section in memory":  {func(o *object) { o.sections[0].typ = elf.SHT_NOBITS }, kmod.ErrNotModule, ".rodata"},
		"stripped":           {func(o *object) { o.symbols = nil }, kmod.ErrNoArchive, "symbol table"},
		"no start":           {func(o *object) { o.symbols[0].name = "x" }, kmod.ErrNoArchive, "0 symbols kheaders_xz_archive"},
		"no end":             {func(o *object) { o.symbols[2].name = "x" }, kmod.ErrNoArchive, "0 symbols kheaders_xz_archive_end"},
		"two starts":         {func(o *object) { o.symbols[1].name = "kheaders_xz_archive" }, kmod.ErrNoArchive, "2 symbols"},
		"undefined symbols": {func(o *object) {
			o.symbols[0].section, o.symbols[2].section = elf.SHN_UNDEF, elf.SHN_UNDEF
		}, kmod.ErrNoArchive, "one section"},
		"absolute symbols": {func(o *object) {
			o.symbols[0].section, o.symbols[2].section = elf.SHN_ABS, elf.SHN_ABS
		}, kmod.ErrNoArchive, "one section"},
		"two sections":    {func(o *object) { o.symbols[2].section = 2 }, kmod.ErrNoArchive, "one section"},
		"end first":       {func(o *object) { o.symbols[0].value, o.symbols[2].value = 20, 10 }, kmod.ErrNoArchive, "0x14 and 0xa"},
		"nothing between": {func(o *object) { o.symbols[2].value = o.symbols[0].value }, kmod.ErrNoArchive, "0xa and 0xa"},
		"past the end":    {func(o *object) { o.symbols[2].value = 1 << 63 }, kmod.ErrNoArchive, "0x8000000000000000"},
		"in the next section": {func(o *object) {
			o.symbols[2].value = uint64(len(o.sections[0].data)) + 1
		}, kmod.ErrNoArchive, "0x1d of 0x1c bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			o := module(archive, modinfo)
			test.change(&o)
			_, err := kmod.Parse(o.bytes())
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want one line with %q", err, test.text)
			}
		})
	}
}

// kernel returns what passes for a vmlinux, at an address typical of kernels.
func kernel(archive string) object {
	return module(archive, "").linked(elf.ET_EXEC, 0xffffffff81000000, 0)
}

func TestParseKernel(t *testing.T) {
	o := kernel(archive)
	for _, typ := range []elf.Type{elf.ET_EXEC, elf.ET_DYN} {
		o.typ = typ
		info, err := kmod.ParseKernel(o.bytes())
		if err != nil {
			t.Fatal(err)
		}
		want := kmod.Want{Target: first, SHA256: digest(archive)}
		if err := info.CheckKernel(want); err != nil || info.Size != int64(len(archive)) {
			t.Errorf("%+v: %v", info, err)
		}
		want.SHA256 = strings.Repeat("0", 64)
		if err := info.CheckKernel(want); err == nil || !strings.HasPrefix(err.Error(), "the kernel's archive is sha256:") {
			t.Errorf("another archive: %v", err)
		}
		info.Machine, info.ByteOrder = second.Machine, second.ByteOrder
		if err := info.CheckKernel(want); err == nil || err.Error() != "the kernel's architecture is "+second.Name+", not "+first.Name {
			t.Errorf("another architecture: %v", err)
		}
		info.Machine, info.ByteOrder = first.Machine, elf.ELFDATANONE
		if err := info.CheckKernel(want); err == nil || !strings.Contains(err.Error(), first.Machine.String()+", ELFDATANONE, not ") {
			t.Errorf("another byte order: %v", err)
		}
	}
}

func TestParseKernelRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*object)
		want   error
	}{
		"a module":          {func(o *object) { o.typ = elf.ET_REL }, kmod.ErrNotKernel},
		"not built in":      {func(o *object) { o.symbols = o.symbols[1:2] }, kmod.ErrNoArchive},
		"below the section": {func(o *object) { o.symbols[0].value = 5 }, kmod.ErrNoArchive},
		"both below":        {func(o *object) { o.symbols[0].value, o.symbols[2].value = 5, 10 }, kmod.ErrNoArchive},
		"past the end":      {func(o *object) { o.symbols[2].value += 100 }, kmod.ErrNoArchive},
		"end first":         {func(o *object) { o.symbols[2].value = o.symbols[0].value - 1 }, kmod.ErrNoArchive},
	} {
		o := kernel(archive)
		test.change(&o)
		if _, err := kmod.ParseKernel(o.bytes()); !errors.Is(err, test.want) {
			t.Errorf("%s: error %v, want %v", name, err, test.want)
		}
	}
	if _, err := kmod.ParseKernel([]byte("text")); !errors.Is(err, kmod.ErrNotKernel) {
		t.Errorf("a text: %v", err)
	}
	data := kernel(archive).bytes()
	for n := range data {
		if _, err := kmod.ParseKernel(data[:n]); err == nil {
			t.Errorf("%d bytes of %d are enough", n, len(data))
		}
	}
	if _, err := kmod.InspectKernel(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestParseTruncated(t *testing.T) {
	whole := module(archive, modinfo).bytes()
	for n := range len(whole) {
		_, err := kmod.Parse(whole[:n])
		want := kmod.ErrTruncated
		if n < len(elf.ELFMAG) {
			want = kmod.ErrNotModule
		}
		if !errors.Is(err, want) {
			t.Errorf("the first %d of %d bytes: error %v, want %v", n, len(whole), err, want)
		}
	}
}

func TestParseContentsPastTheEnd(t *testing.T) {
	for _, name := range []string{".rodata", ".modinfo"} {
		o := module(archive, modinfo)
		whole := o.bytes()
		f, err := elf.NewFile(strings.NewReader(string(whole)))
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range f.Sections {
			if s.Name != name {
				continue
			}
			// sh_size is the quadword at offset 32 of a section
			// header. The headers are last in the file, 64 bytes
			// each.
			at := len(whole) - 64*(len(f.Sections)-i) + 32
			copy(whole[at:], "\xff\xff\xff\xff\xff\xff\xff\x7f")
		}
		if _, err := kmod.Parse(whole); !errors.Is(err, kmod.ErrTruncated) {
			t.Errorf("%s: error %v, want %v", name, err, kmod.ErrTruncated)
		}
	}
}

func TestInspect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kheaders.ko")
	if _, err := kmod.Inspect(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: error %v, want %v", err, fs.ErrNotExist)
	}
	data := module(archive, modinfo).bytes()
	if err := os.WriteFile(path, data[:100], 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := kmod.Inspect(path)
	if want := path + ": the file is cut short"; err == nil || err.Error() != want {
		t.Errorf("short file: error %v, want %s", err, want)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	info, err := kmod.Inspect(path)
	if err != nil || info.SHA256 != digest(archive) {
		t.Errorf("Inspect = %+v, %v", info, err)
	}
}

func TestCheck(t *testing.T) {
	want := kmod.Want{Target: first, Release: "6.12.117-kheaders", SHA256: digest(archive)}
	declared := modinfo + "archive_sha256=" + digest(archive) + "\x00archive_size=13\x00headers_release=6.12.117-kheaders\x00"
	flipped := "Not really xz"
	for name, test := range map[string]struct {
		archive, modinfo string
		machine          elf.Machine
		want             string
	}{
		"ours":           {archive, declared, first.Machine, ""},
		"the kernel's":   {archive, modinfo, first.Machine, ""},
		"another arch":   {archive, declared, second.Machine, "the module's architecture is " + second.Name + ", not " + first.Name},
		"unknown":        {archive, declared, elf.EM_VAX, "the module's architecture is EM_VAX, ELFDATA2LSB, not " + first.Name},
		"another module": {archive, "name=kheader\x00", first.Machine, `the module's name is "kheader", not "kheaders"`},
		"no name":        {archive, "", first.Machine, `the module's name is "", not "kheaders"`},
		"another release": {
			archive, "name=kheaders\x00vermagic=6.12.117 SMP\x00", first.Machine,
			`the module's kernel release is "6.12.117", not "6.12.117-kheaders"`,
		},
		"no vermagic": {archive, "name=kheaders\x00", first.Machine, `the module's kernel release is "", not "6.12.117-kheaders"`},
		"one byte": {
			flipped, declared, first.Machine,
			"the module's archive is sha256:" + digest(flipped) + ", not sha256:" + digest(archive),
		},
		"declares another digest": {
			archive, modinfo + "archive_sha256=0\x00", first.Machine,
			"the module's field archive_sha256 is 0, not " + digest(archive),
		},
		"declares another size": {
			archive, modinfo + "archive_size=12\x00", first.Machine,
			"the module's field archive_size is 12, not 13",
		},
		"headers of another kernel": {
			archive, modinfo + "headers_release=6.1.0\x00", first.Machine,
			"the module's field headers_release is 6.1.0, not 6.12.117-kheaders",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := module(test.archive, test.modinfo)
			o.machine = test.machine
			info, err := kmod.Parse(o.bytes())
			if err != nil {
				t.Fatal(err)
			}
			err = info.Check(want)
			if test.want == "" {
				if err != nil {
					t.Errorf("error %v, want none", err)
				}
				return
			}
			if _, ok := errors.AsType[*kmod.MismatchError](err); !ok || err.Error() != test.want {
				t.Errorf("error %v (%T), want %s", err, err, test.want)
			}
			if hint.Of(err) == "" {
				t.Error("no hint")
			}
		})
	}
}

// FuzzParse checks that no input makes Parse panic, and that an accepted file
// has an archive no larger than itself.
func FuzzParse(f *testing.F) {
	whole := module(archive, modinfo).bytes()
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := kmod.Parse(data)
		if err != nil {
			if !errors.Is(err, kmod.ErrNotModule) && !errors.Is(err, kmod.ErrTruncated) && !errors.Is(err, kmod.ErrNoArchive) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		if info.Size < 1 || info.Size > int64(len(data)) {
			t.Errorf("an archive of %d bytes in a file of %d", info.Size, len(data))
		}
	})
}
