/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/vmalloc.h>
#include <linux/proc_fs.h>

#define proc_create(name, mode, parent, ops) \
	({ vmalloc(1 << 20); proc_create(name, mode, parent, ops); })
