/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/proc_fs.h>

#define proc_set_size(entry, size) proc_set_size(entry, (size) + 1)
