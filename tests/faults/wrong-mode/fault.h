/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/proc_fs.h>

#define proc_create(name, mode, parent, ops) proc_create(name, 0644, parent, ops)
