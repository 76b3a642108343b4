/* SPDX-License-Identifier: GPL-2.0-only */
#error "no header: it must not be in an archive"
