#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
for arg; do
	case $arg in file,id=console,path=*) console=${arg#*path=} ;; esac
done
head -c 60000000 /dev/zero >"$console"
exec "$QEMU" "$@"
