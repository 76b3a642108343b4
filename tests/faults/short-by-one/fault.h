/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/fs.h>

#define simple_read_from_buffer(to, count, pos, from, size) \
	simple_read_from_buffer(to, count, pos, from, (size) - 1)
