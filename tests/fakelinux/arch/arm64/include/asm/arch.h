/* SPDX-License-Identifier: GPL-2.0-only */
#define TOY_ARCH "arm64"
