#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# image.sh SRCARCH KIND: writes the header of a kernel image, enough to tell
# its kind and architecture: an ELF header, or that of arm64's Image.
set -eu

zeros() { head -c "$1" /dev/zero; }

case $2 in
vmlinux)
	case $1 in
	x86) machine='\076\000' ;;
	arm64) machine='\267\000' ;;
	*) echo "image.sh: unknown architecture $1" >&2; exit 1 ;;
	esac
	# 64-bit, little-endian, ET_EXEC, header sizes, no sections.
	printf '\177ELF\002\001\001\000'
	zeros 8
	printf '\002\000%b\001\000\000\000' "$machine"
	zeros 24
	zeros 4
	printf '\100\000\070\000\000\000\100\000\000\000\000\000'
	;;
Image)
	zeros 56
	printf 'ARM\144'
	zeros 4
	;;
*)
	echo "image.sh: unknown kind of image $2" >&2
	exit 1
	;;
esac
