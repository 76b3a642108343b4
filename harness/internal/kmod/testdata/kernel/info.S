/* SPDX-License-Identifier: BSD-3-Clause */
/* What modpost and the C file put into .modinfo. */
#include "kheaders.h"

	.section .modinfo, "a", %progbits
	.ascii "name=kheaders\0vermagic=6.12.0-toy SMP \0"
	.ascii "archive_sha256=", KHEADERS_ARCHIVE_SHA256, "\0"
