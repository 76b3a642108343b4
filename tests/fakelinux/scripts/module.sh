#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# module.sh SRCARCH DIR RELEASE-FILE: a toy build of the module kheaders in
# DIR. The result is a relocatable ELF file with what can be read off a real
# one: .modinfo, and the archive between its two symbols. It has no code.
set -eu
arch=$1 dir=$2 release=$(cat "$3")
archive=$dir/kheaders_data.tar.xz
header=$dir/kheaders.h
ko=$dir/kheaders.ko

case $arch in
x86) machine=62 ;;
arm64) machine=183 ;;
*) echo "module.sh: unknown architecture $arch" >&2; exit 1 ;;
esac
for file in "$dir/Kbuild" "$archive" "$header"; do
	test -f "$file" || { echo "$file: No such file or directory" >&2; exit 1; }
done

# le SIZE NUMBER... writes numbers of SIZE bytes, the lowest byte first.
le() {
	size=$1
	shift
	for number; do
		i=0
		while [ $i -lt "$size" ]; do
			printf "\\$(printf %03o $((number & 255)))"
			number=$((number >> 8))
			i=$((i + 1))
		done
	done
}

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

# The parts of the file, one after the other.
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
	printf '\177ELF\002\001\001\0\0\0\0\0\0\0\0\0'
	le 2 1 $machine # ET_REL
	le 4 1
	le 8 0 0 $headers
	le 4 0
	le 2 64 0 0 64 6 5
	cat "$ko.modinfo" "$archive"
	# name; info, other; section; value, size
	le 8 0 0 0
	le 4 1; le 1 16 0; le 2 2; le 8 0 0
	le 4 21; le 1 16 0; le 2 2; le 8 "$archive_size" 0
	printf '\0kheaders_xz_archive\0kheaders_xz_archive_end\0'
	printf '\0.modinfo\0.rodata\0.symtab\0.strtab\0.shstrtab\0'
	# name, type; flags, address, offset, size; link, info; alignment, entry size
	le 8 0 0 0 0 0 0 0 0
	le 4 1 1; le 8 2 0 $modinfo "$modinfo_size"; le 4 0 0; le 8 1 0
	le 4 10 1; le 8 2 0 $data "$archive_size"; le 4 0 0; le 8 1 0
	le 4 18 2; le 8 0 0 $symtab $symtab_size; le 4 4 1; le 8 1 24
	le 4 26 3; le 8 0 0 $strtab $strtab_size; le 4 0 0; le 8 1 0
	le 4 34 3; le 8 0 0 $names $names_size; le 4 0 0; le 8 1 0
} > "$ko.part"
rm "$ko.modinfo"
mv "$ko.part" "$ko"
echo "  LD [M]  $ko"
