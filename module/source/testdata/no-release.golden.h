/* SPDX-License-Identifier: GPL-2.0-only */
/* Describes the archive kheaders_data.tar.xz, and where it is in memory. */
#ifndef KHEADERS_H
#define KHEADERS_H

#define KHEADERS_VERSION "1.0"
#define KHEADERS_ARCHIVE_SHA256 \
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define KHEADERS_ARCHIVE_SIZE 4347092

#ifndef __ASSEMBLER__
/* These are arrays, since a hardened copy_to_user() takes a char for one byte. */
extern const char kheaders_xz_archive[];
extern const char kheaders_xz_archive_end[];
#endif

#endif
