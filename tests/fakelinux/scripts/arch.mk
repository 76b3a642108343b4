# SPDX-License-Identifier: GPL-2.0-only
# Written from the table of architectures: go test ./harness/target -update
# ELF is machine and byte order.
SRCARCH_x86_64 := x86
ELF_x86_64 := 62 1
IMAGE_x86_64 := vmlinux
SRCARCH_arm64 := arm64
ELF_arm64 := 183 1
IMAGE_arm64 := arch/arm64/boot/Image
ARCHS := x86_64 arm64
