/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/proc_fs.h>

static struct {
	int array[4];
	int behind[4];
} fault_data;

static noinline void fault(void)
{
	volatile int at = 5;

	fault_data.array[at] = 1;
}

#define proc_create(name, mode, parent, ops) \
	({ fault(); proc_create(name, mode, parent, ops); })
