/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The archive, between two symbols. It is not in the C file, because with
 * link-time optimisation the compiler would only look for the archive when
 * linking, without the assembler's search path.
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

	/* modinfo must tell the truth. This catches a truncated copy. */
	.if kheaders_xz_archive_end - kheaders_xz_archive - KHEADERS_ARCHIVE_SIZE
	.error "kheaders_data.tar.xz does not have the size that kheaders.h says"
	.endif
