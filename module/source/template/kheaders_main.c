// SPDX-License-Identifier: GPL-2.0-only
/*
 * Serves the headers that a kernel was built with to user space, as an archive:
 * /proc/kheaders.tar.xz, and /sys/kernel/kheaders.tar.xz like the kernel's own
 * kheaders. The archive is in the read-only data, so a read is just a copy, and
 * unloading the module frees all of its memory.
 *
 * This works with kernels from 4.14 on. KHEADERS_KERNEL selects between their
 * APIs: 6012 is 6.12.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/errno.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>
#include <linux/proc_fs.h>
#include <linux/string.h>
#include <linux/stringify.h>
#include <linux/sysfs.h>
#include <linux/types.h>
#include <linux/uio.h>
#include <linux/utsname.h>

#include "kheaders.h"

#ifndef CONFIG_PROC_FS
#error "kheaders needs a kernel with CONFIG_PROC_FS"
#endif

#if defined(MODULE) && IS_BUILTIN(CONFIG_IKHEADERS_PROC)
#error "this kernel has /proc/kheaders.tar.xz built in (CONFIG_IKHEADERS_PROC)"
#endif

#define KHEADERS_FILE "kheaders.tar.xz"

static size_t kheaders_size(void)
{
	return kheaders_xz_archive_end - kheaders_xz_archive;
}

/*
 * Since 5.10, only a file with read_iter has sendfile() and splice(). Before
 * that, procfs has no read_iter, and the kernel reads into a buffer for them.
 */
#if KHEADERS_KERNEL >= 5010
static ssize_t kheaders_proc_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	loff_t pos = iocb->ki_pos;
	loff_t size = kheaders_size();
	size_t count = iov_iter_count(to);

	if (pos < 0)
		return -EINVAL;
	if (pos >= size || !count)
		return 0;
	count = min_t(loff_t, count, size - pos);
	count = copy_to_iter(kheaders_xz_archive + pos, count, to);
	if (!count)
		return -EFAULT;
	iocb->ki_pos = pos + count;
	return count;
}

static const struct proc_ops kheaders_proc_ops = {
	.proc_read_iter = kheaders_proc_read_iter,
	.proc_lseek = default_llseek,
};
#else
static ssize_t kheaders_proc_read(struct file *file, char __user *buf,
				  size_t count, loff_t *pos)
{
	return simple_read_from_buffer(buf, count, pos, kheaders_xz_archive,
				       kheaders_size());
}

/* Since 5.6, procfs has operations of its own. */
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
#endif

static int __init kheaders_proc_add(void)
{
	struct proc_dir_entry *entry;

	entry = proc_create(KHEADERS_FILE, 0444, NULL, &kheaders_proc_ops);
	if (!entry)
		return -ENOMEM;

	/* stat() reports this size, and SEEK_END counts from it. */
	proc_set_size(entry, kheaders_size());
	return 0;
}

/* procfs waits for reads in flight; later reads of an open file get EIO. */
static void kheaders_proc_remove(void)
{
	remove_proc_entry(KHEADERS_FILE, NULL);
}

#ifdef CONFIG_SYSFS

/*
 * Before initialisation, whether the file in /sys is wanted; afterwards,
 * whether it exists. The default leaves the name to the kernel's own
 * kheaders.ko if that can be loaded later, next to us.
 */
static bool kheaders_sysfs __ro_after_init =
	!(IS_MODULE(CONFIG_IKHEADERS) && IS_ENABLED(CONFIG_IKHEADERS_PROC));
module_param_named(sysfs, kheaders_sysfs, bool, 0444);
MODULE_PARM_DESC(sysfs, "serve /sys/kernel/" KHEADERS_FILE " too, if it is not there yet");

/* Since 6.16, the callbacks take a const attribute. */
#if KHEADERS_KERNEL >= 6016
#define kheaders_attr_const const
#else
#define kheaders_attr_const
#endif

static ssize_t kheaders_sysfs_read(struct file *file, struct kobject *kobj,
				   kheaders_attr_const struct bin_attribute *attr,
				   char *buf, loff_t pos, size_t count)
{
	return memory_read_from_buffer(buf, count, &pos, kheaders_xz_archive,
				       kheaders_size());
}

static struct bin_attribute kheaders_attr __ro_after_init = {
	.attr = { .name = KHEADERS_FILE, .mode = 0444 },
	.read = kheaders_sysfs_read,
};

static int __init kheaders_sysfs_add(void)
{
	struct kernfs_node *taken;
	int err;

	if (!kheaders_sysfs)
		return 0;

	/*
	 * Look first: sysfs warns about a duplicate name with a stack trace.
	 * This cannot race. Only the kernel's own kheaders creates that file:
	 * if built in, it does so before us, and as a module it has our name,
	 * so it cannot be loaded at the same time.
	 */
	taken = sysfs_get_dirent(kernel_kobj->sd, KHEADERS_FILE);
	if (taken) {
		sysfs_put(taken);
		kheaders_sysfs = false;
		return 0;
	}

	kheaders_attr.size = kheaders_size();
	err = sysfs_create_bin_file(kernel_kobj, &kheaders_attr);
	if (err)
		kheaders_sysfs = false;
	return err;
}

/* kernfs waits for reads in flight; later reads of an open file get ENODEV. */
static void kheaders_sysfs_remove(void)
{
	if (kheaders_sysfs)
		sysfs_remove_bin_file(kernel_kobj, &kheaders_attr);
}

#else

static int __init kheaders_sysfs_add(void)
{
	return 0;
}

static void kheaders_sysfs_remove(void)
{
}

#endif

#if defined(MODULE) && defined(KHEADERS_RELEASE)

/*
 * Users would not notice that the headers are another kernel's. With module
 * versions the kernel itself ignores the release, and distributions offer a
 * module to other kernels than the one that it was built for. The error is what
 * the kernel gives for a wrong vermagic.
 */
static int __init kheaders_check_release(void)
{
	const char *release = init_utsname()->release;

	if (!*KHEADERS_RELEASE || !strcmp(release, KHEADERS_RELEASE))
		return 0;
	pr_err("the headers are those of %s, but this kernel is %s\n",
	       KHEADERS_RELEASE, release);
	return -ENOEXEC;
}

#else

/* Headers that are built in are the kernel's own. */
static int __init kheaders_check_release(void)
{
	return 0;
}

#endif

/* If built in, this runs late enough to come after the kernel's own kheaders. */
static int __init kheaders_init(void)
{
	int err;

	err = kheaders_check_release();
	if (err)
		return err;

	err = kheaders_proc_add();
	if (err)
		return err;

	err = kheaders_sysfs_add();
	if (err)
		kheaders_proc_remove();
	return err;
}
late_initcall(kheaders_init);

static void __exit kheaders_exit(void)
{
	kheaders_sysfs_remove();
	kheaders_proc_remove();
}
module_exit(kheaders_exit);

MODULE_DESCRIPTION("Kernel headers in /proc/" KHEADERS_FILE);
MODULE_AUTHOR("kheaders authors");
MODULE_LICENSE("GPL");
MODULE_VERSION(KHEADERS_VERSION);
MODULE_INFO(archive_sha256, KHEADERS_ARCHIVE_SHA256);
MODULE_INFO(archive_size, __stringify(KHEADERS_ARCHIVE_SIZE));
#ifdef KHEADERS_RELEASE
MODULE_INFO(headers_release, KHEADERS_RELEASE);
#endif
