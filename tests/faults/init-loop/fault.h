/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/processor.h>
#include <linux/proc_fs.h>

#define proc_create(name, mode, parent, ops) \
	({ for (;;) cpu_relax(); NULL; })
