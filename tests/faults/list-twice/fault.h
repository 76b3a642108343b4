/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/list.h>
#include <linux/proc_fs.h>

static noinline void fault(void)
{
	static LIST_HEAD(fault_list);
	static struct list_head entry;

	list_add(&entry, &fault_list);
	list_del(&entry);
	list_del(&entry);
}

#define proc_create(name, mode, parent, ops) \
	({ fault(); proc_create(name, mode, parent, ops); })
