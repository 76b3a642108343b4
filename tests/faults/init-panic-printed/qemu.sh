#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Without the device that reports a panic to QEMU.
for arg; do
	shift
	case $arg in
	pvpanic-pci)
		set -- "$@" virtio-rng-pci ;;
	panic=exit-failure)
		set -- "$@" panic=shutdown ;;
	*)
		set -- "$@" "$arg" ;;
	esac
done
exec "$QEMU" "$@"
