/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/fs.h>
#include <linux/proc_fs.h>
#include <linux/uio.h>

static struct proc_ops fault_ops;
static ssize_t (*fault_real)(struct kiocb *iocb, struct iov_iter *to);

static ssize_t fault_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	loff_t end = i_size_read(file_inode(iocb->ki_filp)) - 1;

	if (iocb->ki_pos >= end)
		return 0;
	iov_iter_truncate(to, end - iocb->ki_pos);
	return fault_real(iocb, to);
}

#define proc_create(name, mode, parent, ops) ({ \
	fault_ops = *(ops); \
	fault_real = fault_ops.proc_read_iter; \
	fault_ops.proc_read_iter = fault_read_iter; \
	proc_create(name, mode, parent, &fault_ops); \
})
