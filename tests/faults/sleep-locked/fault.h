/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/spinlock.h>

static DEFINE_SPINLOCK(fault_lock);
static DEFINE_MUTEX(fault_mutex);

static noinline void fault(void)
{
	spin_lock(&fault_lock);
	mutex_lock(&fault_mutex);
	mutex_unlock(&fault_mutex);
	spin_unlock(&fault_lock);
}

#define proc_create(name, mode, parent, ops) \
	({ fault(); proc_create(name, mode, parent, ops); })
