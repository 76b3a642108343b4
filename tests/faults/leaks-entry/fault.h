/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/proc_fs.h>

#define remove_proc_entry(name, parent) do { } while (0)
