/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/fs.h>

static inline void fault_oops(void)
{
	*(volatile int *)8 = 0;
}

#define simple_read_from_buffer(to, count, pos, from, size) \
	({ fault_oops(); (ssize_t)0; })
