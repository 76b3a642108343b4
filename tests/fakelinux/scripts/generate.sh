#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# generate.sh SRCTREE OBJTREE SRCARCH VERSION LOCALVERSION: writes the files
# that a kernel generates from its configuration.
set -eu
cd "$2"
arch=$3 version=$4 local=$5
mkdir -p include/config include/generated/uapi/linux "arch/$arch/include/generated/asm" "arch/$arch/include/generated/uapi/asm" scripts
grep '^CONFIG_' .config > include/config/auto.conf
autoconf=$(sed -n -e 's/^\(CONFIG_[A-Za-z0-9_]*\)=y$/#define \1 1/p;t' \
	-e 's/^\(CONFIG_[A-Za-z0-9_]*\)=m$/#define \1_MODULE 1/p;t' \
	-e 's/^\(CONFIG_[A-Za-z0-9_]*\)=\(.*\)$/#define \1 \2/p' .config)
# As in Linux, it keeps its time if it stays the same.
[ "$(cat include/generated/autoconf.h 2> /dev/null)" = "$autoconf" ] || echo "$autoconf" > include/generated/autoconf.h
suffix=$(sed -n 's/^CONFIG_LOCALVERSION="\(.*\)"$/\1/p' .config)
echo "$version$suffix$local" > include/config/kernel.release
echo "#define UTS_RELEASE \"$version$suffix$local\"" > include/generated/utsrelease.h
echo "$version" | awk -F. '{ print "#define LINUX_VERSION_CODE " $1 * 65536 + $2 * 256 + $3 }' > include/generated/uapi/linux/version.h
echo '#include <asm-generic/toy.h>' > "arch/$arch/include/generated/asm/toy.h"
echo '#include <asm-generic/toy.h>' > "arch/$arch/include/generated/uapi/asm/toy-uapi.h"
