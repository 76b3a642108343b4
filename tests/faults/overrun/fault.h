/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/proc_fs.h>
#include <linux/slab.h>

static noinline void fault(void)
{
	char *bytes = kmalloc(13, GFP_KERNEL);

	if (!bytes)
		return;
	OPTIMIZER_HIDE_VAR(bytes);
	bytes[13] = 1;
	kfree(bytes);
}

#define proc_create(name, mode, parent, ops) \
	({ fault(); proc_create(name, mode, parent, ops); })
