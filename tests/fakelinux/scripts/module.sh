#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# module.sh MACHINE ORDER DIR RELEASE-FILE: a toy build of the module kheaders in
# DIR. The result is a relocatable ELF file without code. It has what the harness
# reads from a real one: .modinfo, and the archive between its two symbols.
set -eu
. "${0%/*}/elf.sh"
machine=$1 order=$2 dir=$3 release=$(cat "$4")
archive=$dir/kheaders_data.tar.xz
header=$dir/kheaders.h
ko=$dir/kheaders.ko

for file in "$dir/Kbuild" "$archive" "$header"; do
	test -f "$file" || { echo "$file: No such file or directory" >&2; exit 1; }
done

# macro NAME prints the value of a macro in the header, without quotes.
macro() {
	sed -e ':a' -e '/\\$/{N;s/\\\n//;ba' -e '}' "$header" |
		sed -n "s/^#define $1[[:space:]]*\"\\{0,1\\}\\([^\"]*\\)\"\\{0,1\\}\$/\\1/p"
}

{
	printf 'name=kheaders\0vermagic=%s mod_unload \0' "$release"
	printf 'archive_sha256=%s\0archive_size=%s\0' "$(macro KHEADERS_ARCHIVE_SHA256)" "$(macro KHEADERS_ARCHIVE_SIZE)"
	headers=$(macro KHEADERS_RELEASE)
	[ -z "$headers" ] || printf 'headers_release=%s\0' "$headers"
} > "$ko.modinfo"
modinfo_size=$(wc -c < "$ko.modinfo")
archive_size=$(wc -c < "$archive")

# The offsets and sizes of the file's parts, in order.
modinfo=64
data=$((modinfo + modinfo_size))
symtab=$((data + archive_size))
symtab_size=72 # three symbols
strtab=$((symtab + symtab_size))
strtab_size=45 # \0 kheaders_xz_archive\0 kheaders_xz_archive_end\0
names=$((strtab + strtab_size))
names_size=44 # \0 .modinfo\0 .rodata\0 .symtab\0 .strtab\0 .shstrtab\0
headers=$((names + names_size))

{
	header 1 "$machine" $headers 6 # ET_REL
	cat "$ko.modinfo" "$archive"
	# name; info, other; section; value, size
	number 8 0 0 0
	number 4 1; number 1 16 0; number 2 2; number 8 0 0
	number 4 21; number 1 16 0; number 2 2; number 8 "$archive_size" 0
	printf '\0kheaders_xz_archive\0kheaders_xz_archive_end\0'
	printf '\0.modinfo\0.rodata\0.symtab\0.strtab\0.shstrtab\0'
	# name, type; flags, address, offset, size; link, info; alignment, entry size
	number 8 0 0 0 0 0 0 0 0
	number 4 1 1; number 8 2 0 $modinfo "$modinfo_size"; number 4 0 0; number 8 1 0
	number 4 10 1; number 8 2 0 $data "$archive_size"; number 4 0 0; number 8 1 0
	number 4 18 2; number 8 0 0 $symtab $symtab_size; number 4 4 1; number 8 1 24
	number 4 26 3; number 8 0 0 $strtab $strtab_size; number 4 0 0; number 8 1 0
	number 4 34 3; number 8 0 0 $names $names_size; number 4 0 0; number 8 1 0
} > "$ko.part"
rm "$ko.modinfo"
mv "$ko.part" "$ko"
echo "  LD [M]  $ko"
