/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/panic.h>
#include <linux/printk.h>
#include <linux/proc_fs.h>

#define proc_create(name, mode, parent, ops) \
	({ console_loglevel = 0; panic("on purpose"); NULL; })
