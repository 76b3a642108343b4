// SPDX-License-Identifier: GPL-2.0-only
/*
 * The headers that a kernel was built with, as an archive that user space can
 * read: /proc/kheaders.tar.xz. The module carries the archive in its read-only
 * data, so a read is a copy, and unloading it gives all of the memory back.
 */
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/stringify.h>
#include <linux/types.h>

#include "kheaders.h"

#ifndef CONFIG_PROC_FS
#error "kheaders needs a kernel with CONFIG_PROC_FS"
#endif

#define KHEADERS_FILE "kheaders.tar.xz"

static size_t kheaders_size(void)
{
	return kernel_headers_data_end - kernel_headers_data;
}

static ssize_t kheaders_proc_read(struct file *file, char __user *buf,
				  size_t count, loff_t *pos)
{
	return simple_read_from_buffer(buf, count, pos, kernel_headers_data,
				       kheaders_size());
}

/* procfs has its own structure of operations since 5.6. */
#if KHEADERS_KERNEL >= 5006
static const struct proc_ops kheaders_proc_ops = {
	.proc_read = kheaders_proc_read,
	.proc_lseek = default_llseek,
};
#else
static const struct file_operations kheaders_proc_ops = {
	.read = kheaders_proc_read,
	.llseek = default_llseek,
};
#endif

static int __init kheaders_proc_add(void)
{
	struct proc_dir_entry *entry;

	entry = proc_create(KHEADERS_FILE, 0444, NULL, &kheaders_proc_ops);
	if (!entry)
		return -ENOMEM;

	/* The size is what stat() shows and what SEEK_END counts from. */
	proc_set_size(entry, kheaders_size());
	return 0;
}

/* procfs waits for reads under way; later ones on an open file get EIO. */
static void kheaders_proc_remove(void)
{
	remove_proc_entry(KHEADERS_FILE, NULL);
}

static int __init kheaders_init(void)
{
	return kheaders_proc_add();
}
module_init(kheaders_init);

static void __exit kheaders_exit(void)
{
	kheaders_proc_remove();
}
module_exit(kheaders_exit);

MODULE_DESCRIPTION("Kernel headers in /proc/" KHEADERS_FILE);
MODULE_AUTHOR("kheaders authors");
MODULE_LICENSE("GPL");
MODULE_INFO(archive_sha256, KHEADERS_ARCHIVE_SHA256);
MODULE_INFO(archive_size, __stringify(KHEADERS_ARCHIVE_SIZE));
#ifdef KHEADERS_RELEASE
MODULE_INFO(headers_release, KHEADERS_RELEASE);
#endif
