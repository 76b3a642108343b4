#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# builtin.sh SRCTREE OBJTREE ARCH MACHINE ORDER: packs the headers and puts them
# into vmlinux, which becomes what module.sh makes except for the ELF type.
set -eu
. "${0%/*}/elf.sh"
order=$5
dir=$2/kernel/kheaders_proc
mkdir -p "$dir"
kheaders archive --source "$1" --build "$2" --arch "$3" --output "$dir/kheaders_data.tar.xz"
: > "$dir/Kbuild"
: > "$dir/kheaders.h"
"$1/scripts/module.sh" "$4" "$5" "$dir" "$2/include/config/kernel.release"
{
	head -c 16 "$dir/kheaders.ko"
	number 2 2 # ET_EXEC
	tail -c +19 "$dir/kheaders.ko"
} > "$2/vmlinux"
rm "$dir/kheaders.ko"
