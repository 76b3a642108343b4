# SPDX-License-Identifier: GPL-2.0-only
# Functions that write 64-bit ELF files in the byte order $order: 1 is
# little-endian, 2 is big-endian.

# number SIZE NUMBER... writes numbers of SIZE bytes each.
number() {
	size=$1
	shift
	for value; do
		i=0
		while [ $i -lt "$size" ]; do
			case $order in
			1) bits=$((8 * i)) ;;
			2) bits=$((8 * (size - 1 - i))) ;;
			*) echo "elf.sh: unknown byte order $order" >&2; exit 1 ;;
			esac
			# In octal, to do without a process per byte.
			printf "\\$((value >> bits >> 6 & 3))$((value >> bits >> 3 & 7))$((value >> bits & 7))"
			i=$((i + 1))
		done
	done
}

# header TYPE MACHINE OFFSET SECTIONS writes the file header. The section headers
# are at OFFSET; the last one is for the table of section names.
header() {
	printf '\177ELF\002'
	number 1 $order 1 0 0 0 0 0 0 0 0 0
	number 2 "$1" "$2"
	number 4 1
	number 8 0 0 "$3"
	number 4 0
	number 2 64 0 0 64 "$4" $(($4 > 0 ? $4 - 1 : 0))
}
