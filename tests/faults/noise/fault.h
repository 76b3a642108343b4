/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/printk.h>
#include <linux/proc_fs.h>

static inline void fault_noise(void)
{
	int i, j;

	for (i = 0; i < 1 << 10; i++) {
		char buf[512];

		for (j = 0; j < sizeof(buf) - 1; j++)
			buf[j] = 1 + (i * 31 + j * 7) % 255;
		buf[sizeof(buf) - 1] = 0;
		printk(i ? KERN_CONT "%s" : KERN_ERR "%s", buf);
	}
}

#define proc_create(name, mode, parent, ops) \
	({ fault_noise(); proc_create(name, mode, parent, ops); })
