/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/proc_fs.h>
#include <linux/spinlock.h>

static DEFINE_SPINLOCK(fault_a);
static DEFINE_SPINLOCK(fault_b);

static noinline void fault(void)
{
	spin_lock(&fault_a);
	spin_lock(&fault_b);
	spin_unlock(&fault_b);
	spin_unlock(&fault_a);

	spin_lock(&fault_b);
	spin_lock(&fault_a);
	spin_unlock(&fault_a);
	spin_unlock(&fault_b);
}

#define proc_create(name, mode, parent, ops) \
	({ fault(); proc_create(name, mode, parent, ops); })
