/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/proc_fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

static noinline void fault(void)
{
	char *bytes = kzalloc(16, GFP_KERNEL);
	unsigned long size = 64;

	if (!bytes)
		return;
	OPTIMIZER_HIDE_VAR(bytes);
	OPTIMIZER_HIDE_VAR(size);
	if (copy_to_user(NULL, bytes, size))
		size = 0;
	kfree(bytes);
}

#define proc_create(name, mode, parent, ops) \
	({ fault(); proc_create(name, mode, parent, ops); })
