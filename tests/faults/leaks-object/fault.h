/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/proc_fs.h>
#include <linux/slab.h>

static noinline void fault(void)
{
	char *bytes = kmalloc(64, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(bytes);
}

#define proc_create(name, mode, parent, ops) \
	({ fault(); proc_create(name, mode, parent, ops); })
