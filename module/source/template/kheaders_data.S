/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The archive, between two symbols. This is not in the C file, because a
 * compiler that optimises at link time would look for the file then, when the
 * assembler's search path is forgotten.
 */
#include "kheaders.h"

	.section .rodata, "a", %progbits
	.balign 8

	.globl kheaders_xz_archive
	.type kheaders_xz_archive, %object
kheaders_xz_archive:
	.incbin "kheaders_data.tar.xz"
	.size kheaders_xz_archive, . - kheaders_xz_archive

	.globl kheaders_xz_archive_end
	.type kheaders_xz_archive_end, %object
kheaders_xz_archive_end:

	/* What modinfo says has to be true. A copy cut short ends here. */
	.if kheaders_xz_archive_end - kheaders_xz_archive - KHEADERS_ARCHIVE_SIZE
	.error "kheaders_data.tar.xz has not the size that kheaders.h gives"
	.endif
