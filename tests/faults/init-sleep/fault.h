/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/sched.h>
#include <linux/proc_fs.h>

#define proc_create(name, mode, parent, ops) \
	({ for (;;) { set_current_state(TASK_UNINTERRUPTIBLE); schedule(); } NULL; })
