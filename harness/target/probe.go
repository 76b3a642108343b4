// SPDX-License-Identifier: BSD-3-Clause

package target

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// probeX86 is an ELF file that QEMU enters through PVH, in 32-bit protected
// mode: it names its entry in a note of type XEN_ELFNOTE_PHYS32_ENTRY
// (xen/include/public/elfnote.h). It prints K on the first serial port.
func probeX86() []byte {
	code := []byte{
		0x66, 0xba, 0xf8, 0x03, // mov $0x3f8,%dx
		0xb0, 'K', // mov $'K',%al
		0xee,       // out %al,(%dx)
		0xeb, 0xfe, // jmp .
	}
	return pvhELF(code)
}

func pvhELF(code []byte) []byte {
	const (
		load    = 1 << 20
		headers = 64 + 2*56
		note    = 4 + 4 + 4 + 4 + 8
		entry   = load + headers + note
	)
	size := uint64(headers + note + len(code))
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
			Vaddr: load, Paddr: load, Filesz: size, Memsz: size, Align: 4096,
		},
		elf.Prog64{
			Type: uint32(elf.PT_NOTE), Flags: uint32(elf.PF_R),
			Off: headers, Vaddr: load + headers, Paddr: load + headers, Filesz: note, Memsz: note, Align: 4,
		},
		[]uint32{4, 8, 18}, // the lengths of name and value, XEN_ELFNOTE_PHYS32_ENTRY
		[]byte("Xen\x00"),
		uint64(entry),
		code,
	} {
		// Writing fixed-size values to a buffer cannot fail.
		_ = binary.Write(&b, binary.LittleEndian, part)
	}
	return b.Bytes()
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
