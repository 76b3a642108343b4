// SPDX-License-Identifier: BSD-3-Clause

package target

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"
)

// probeCount is some 50 ms of a processor's time and less than a second of TCG's.
// A KVM without hardware behind it, which has to emulate what the kernel does,
// needs minutes.
const probeCount = 1 << 27

// probeX86 is an ELF file that QEMU enters through PVH, in 32-bit protected
// mode: it names its entry in a note of type XEN_ELFNOTE_PHYS32_ENTRY
// (xen/include/public/elfnote.h). It switches to where a kernel lives, 64-bit
// mode with paging on, counts to probeCount, and prints K on the first serial
// port. A KVM that emulates every instruction prints as well, a thousand times
// later.
func probeX86() []byte {
	const (
		load    = 1 << 20
		headers = 64 + 2*56
		note    = 4 + 4 + 4 + 4 + 8
		entry   = load + headers + note
		// The processor finds three tables of a page each behind the first
		// page, which has all else. They map the first 2 MiB to themselves.
		page   = 4096
		level4 = load + page
		level3 = level4 + page
		level2 = level3 + page
		size   = 4 * page

		presentWritable = 0b11
		large           = 1 << 7

		codeSegment = 8
		// A segment of code (AMD64 Architecture Programmer's Manual, volume
		// 2, 4.8.1): present, 64-bit.
		code64 = 0x00af9a000000ffff
	)
	le32 := func(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
	enter := func(gdtr, long uint32) []byte {
		return slices.Concat(
			[]byte{0xb8}, le32(level4), // mov $level4,%eax
			[]byte{
				0x0f, 0x22, 0xd8, // mov %eax,%cr3
				0x0f, 0x20, 0xe0, // mov %cr4,%eax
				0x83, 0xc8, 1 << 5, // or $PAE,%eax
				0x0f, 0x22, 0xe0, // mov %eax,%cr4
				0xb9, 0x80, 0x00, 0x00, 0xc0, // mov $EFER,%ecx
				0x0f, 0x32, // rdmsr
				0x80, 0xcc, 1 << 0, // or $LME>>8,%ah
				0x0f, 0x30, // wrmsr
				0x0f, 0x20, 0xc0, // mov %cr0,%eax
				0x0d, 0x00, 0x00, 0x00, 0x80, // or $PG,%eax
				0x0f, 0x22, 0xc0, // mov %eax,%cr0
			},
			[]byte{0x0f, 0x01, 0x15}, le32(gdtr), // lgdt gdtr
			[]byte{0xea}, le32(long), []byte{codeSegment, 0}, // ljmp $codeSegment,$long
		)
	}
	long := entry + uint32(len(enter(0, 0)))
	count := slices.Concat(
		[]byte{0xb9}, le32(probeCount), // mov $probeCount,%ecx
		[]byte{
			0xff, 0xc9, // dec %ecx
			0x75, 0xfc, // jne .-2
			0x66, 0xba, 0xf8, 0x03, // mov $0x3f8,%dx
			0xb0, 'K', // mov $'K',%al
			0xee,       // out %al,(%dx)
			0xeb, 0xfe, // jmp .
		},
	)
	gdt := long + uint32(len(count))
	gdtr := gdt + 2*8

	var b bytes.Buffer
	for _, part := range []any{
		elf.Header64{
			Ident: [elf.EI_NIDENT]byte{
				0x7f, 'E', 'L', 'F',
				byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT),
			},
			Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
			Entry: entry, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 2,
		},
		elf.Prog64{
			Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W | elf.PF_X),
			Vaddr: load, Paddr: load, Filesz: size, Memsz: size, Align: page,
		},
		elf.Prog64{
			Type: uint32(elf.PT_NOTE), Flags: uint32(elf.PF_R),
			Off: headers, Vaddr: load + headers, Paddr: load + headers, Filesz: note, Memsz: note, Align: 4,
		},
		[]uint32{4, 8, 18}, // the lengths of name and value, XEN_ELFNOTE_PHYS32_ENTRY
		[]byte("Xen\x00"),
		uint64(entry),
		enter(gdtr, long),
		count,
		[]uint64{0, code64},
		uint16(2*8 - 1), gdt, // what lgdt loads
	} {
		// Writing fixed-size values to a buffer cannot fail.
		_ = binary.Write(&b, binary.LittleEndian, part)
	}
	image := append(b.Bytes(), make([]byte, size-b.Len())...)
	for i, entry := range []uint64{level3 | presentWritable, level2 | presentWritable, large | presentWritable} {
		binary.LittleEndian.PutUint64(image[(1+i)*page:], entry)
	}
	return image
}

// probeARM64 is a kernel image (Documentation/arch/arm64/booting.rst). It
// prints K on the PL011 of QEMU's virt machine.
func probeARM64() []byte {
	code := []uint32{
		0xd2a12000, // mov x0, #0x9000000
		0x52800961, // mov w1, #'K'
		0xb9000001, // str w1, [x0]
		0x14000000, // b .
	}
	return imageARM64(code)
}

func imageARM64(code []uint32) []byte {
	var b bytes.Buffer
	for _, part := range []any{
		uint32(0x14000010), uint32(0), // b over the header
		uint64(0),        // text_offset
		uint64(64 << 10), // image_size
		uint64(0b1010),   // flags: little endian, 4 KiB pages, anywhere in memory
		[3]uint64{},
		[]byte("ARM\x64"), uint32(0),
		code,
	} {
		_ = binary.Write(&b, binary.LittleEndian, part)
	}
	return b.Bytes()
}
