/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/proc_fs.h>
#include <linux/string.h>

static char fault_small[8];
static char fault_large[16];

static noinline void fault(void)
{
	size_t size = sizeof(fault_large);

	OPTIMIZER_HIDE_VAR(size);
	memcpy(fault_small, fault_large, size);
	OPTIMIZER_HIDE_VAR(fault_small[0]);
}

#define proc_create(name, mode, parent, ops) \
	({ fault(); proc_create(name, mode, parent, ops); })
