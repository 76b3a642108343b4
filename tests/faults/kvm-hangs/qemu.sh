#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
case "$*" in *"-accel kvm"*)
	case "$*" in *-initrd*) exec sleep 1000 ;; esac
	for arg; do
		case "$arg" in file,id=console,path=*) echo "Kernel panic - not syncing: No working init found" >"${arg#*path=}" ;; esac
	done
	exec sleep 1000
esac
exec "$QEMU" "$@"
