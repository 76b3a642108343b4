#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# image.sh MACHINE ORDER: writes the header of a vmlinux, which is enough to
# recognize its kind and architecture.
set -eu
. "${0%/*}/elf.sh"
order=$2
header 2 "$1" 0 0 # ET_EXEC, no sections
