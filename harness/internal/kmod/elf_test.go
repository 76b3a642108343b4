// SPDX-License-Identifier: BSD-3-Clause

package kmod_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// object is a relocatable ELF file, as far as a module needs one.
type object struct {
	typ       elf.Type
	machine   elf.Machine
	addresses []uint64  // of the sections, as far as it goes
	sections  []section // the first has index 1
	symbols   []symbol
}

type section struct {
	name  string
	typ   elf.SectionType
	flags elf.SectionFlag
	data  string
}

type symbol struct {
	name    string
	section elf.SectionIndex
	value   uint64
}

// module returns the smallest module that passes for ours.
func module(archive, modinfo string) object {
	const before = "other data"
	return object{
		typ:     elf.ET_REL,
		machine: first.Machine,
		sections: []section{
			{".rodata", elf.SHT_PROGBITS, elf.SHF_ALLOC, before + archive + "after"},
			{".modinfo", elf.SHT_PROGBITS, elf.SHF_ALLOC, modinfo},
		},
		symbols: []symbol{
			{"kheaders_xz_archive", 1, uint64(len(before))},
			{"init_module", 2, 0},
			{"kheaders_xz_archive_end", 1, uint64(len(before + archive))},
		},
	}
}

// linked gives the sections addresses, which count in the symbols' values, as
// they do in a file that is not relocatable.
func (o object) linked(typ elf.Type, addresses ...uint64) object {
	o.typ, o.addresses = typ, addresses
	for i, s := range o.symbols {
		o.symbols[i].value += addresses[s.section-1]
	}
	return o
}

// swapped has the module's two sections in the other order.
func (o object) swapped() object {
	o.sections[0], o.sections[1] = o.sections[1], o.sections[0]
	for i, s := range o.symbols {
		o.symbols[i].section = 3 - s.section
	}
	return o
}

// bytes lays out the file: header, contents, section headers.
func (o object) bytes() []byte {
	var names, strtab, symtab bytes.Buffer
	names.WriteByte(0)
	strtab.WriteByte(0)
	put(&symtab, elf.Sym64{})
	for _, s := range o.symbols {
		put(&symtab, elf.Sym64{
			Name:  uint32(strtab.Len()),
			Info:  elf.ST_INFO(elf.STB_GLOBAL, elf.STT_OBJECT),
			Shndx: uint16(s.section),
			Value: s.value,
		})
		strtab.WriteString(s.name + "\x00")
	}
	sections := append([]section{{typ: elf.SHT_NULL}}, o.sections...)
	link := uint32(0)
	if len(o.symbols) > 0 {
		link = uint32(len(sections) + 1)
		sections = append(
			sections,
			section{".symtab", elf.SHT_SYMTAB, 0, symtab.String()},
			section{".strtab", elf.SHT_STRTAB, 0, strtab.String()},
		)
	}
	sections = append(sections, section{".shstrtab", elf.SHT_STRTAB, 0, ""})

	var headers, contents bytes.Buffer
	offset := uint64(binary.Size(elf.Header64{}))
	for i, s := range sections {
		h := elf.Section64{
			Name:  uint32(names.Len()),
			Type:  uint32(s.typ),
			Flags: uint64(s.flags),
			Off:   offset + uint64(contents.Len()),
		}
		if i > 0 && i <= len(o.addresses) {
			h.Addr = o.addresses[i-1]
		}
		names.WriteString(s.name + "\x00")
		if i == len(sections)-1 {
			s.data = names.String()
		}
		if s.typ == elf.SHT_SYMTAB {
			h.Link, h.Info, h.Entsize = link, 1, elf.Sym64Size
		}
		h.Size = uint64(len(s.data))
		contents.WriteString(s.data)
		put(&headers, h)
	}
	var out bytes.Buffer
	put(&out, elf.Header64{
		Ident: [elf.EI_NIDENT]byte{
			0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT),
		},
		Type:      uint16(o.typ),
		Machine:   uint16(o.machine),
		Version:   uint32(elf.EV_CURRENT),
		Shoff:     offset + uint64(contents.Len()),
		Ehsize:    uint16(offset),
		Shentsize: uint16(binary.Size(elf.Section64{})),
		Shnum:     uint16(len(sections)),
		Shstrndx:  uint16(len(sections) - 1),
	})
	out.Write(contents.Bytes())
	out.Write(headers.Bytes())
	return out.Bytes()
}

// put cannot fail: a buffer takes everything, and v is of fixed size.
func put(b *bytes.Buffer, v any) { _ = binary.Write(b, binary.LittleEndian, v) }
