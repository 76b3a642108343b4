#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
case "$*" in *"-accel kvm"*)
	echo "qemu: error: failed to set MSR 0x10a" >&2
	exit 1
esac
exec "$QEMU" "$@"
