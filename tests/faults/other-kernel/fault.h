/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/utsname.h>

/* Another kernel, which does not look at the module's vermagic. */
static struct new_utsname fault_uts = { .release = "5.4.0-other" };

#define init_utsname() (&fault_uts)
