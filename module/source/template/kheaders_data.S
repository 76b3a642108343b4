/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The archive, between two symbols. This is not in the C file, because a
 * compiler that optimises at link time would look for the file then, when the
 * assembler's search path is forgotten.
 */
#include "kheaders.h"

	.section .rodata, "a", %progbits
	.balign 8

	.globl kernel_headers_data
	.type kernel_headers_data, %object
kernel_headers_data:
	.incbin "kheaders_data.tar.xz"
	.size kernel_headers_data, . - kernel_headers_data

	.globl kernel_headers_data_end
	.type kernel_headers_data_end, %object
kernel_headers_data_end:

	/* What modinfo says has to be true. A copy cut short ends here. */
	.if kernel_headers_data_end - kernel_headers_data - KHEADERS_ARCHIVE_SIZE
	.error "kheaders_data.tar.xz has not the size that kheaders.h gives"
	.endif
