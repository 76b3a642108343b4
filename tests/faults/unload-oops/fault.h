/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/proc_fs.h>

static inline void fault_oops(void)
{
	*(volatile int *)8 = 0;
}

#define remove_proc_entry(name, parent) fault_oops()
