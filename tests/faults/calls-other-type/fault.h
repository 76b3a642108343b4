/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/compiler.h>
#include <linux/proc_fs.h>

static noinline void fault_takes(long *number)
{
	*number = 1;
}

static noinline void fault(void)
{
	void (*call)(int number) = (void *)fault_takes;

	OPTIMIZER_HIDE_VAR(call);
	call(0);
}

#define proc_create(name, mode, parent, ops) \
	({ fault(); proc_create(name, mode, parent, ops); })
