/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/uio.h>

/* Flips the byte at 2 MiB, wherever the read starts and ends. */
static inline size_t fault_copy(const char *from, size_t count,
				struct iov_iter *to, const char *archive)
{
	const char *at = archive + (2 << 20);
	char c = *at ^ 1;
	size_t before = at - from;
	size_t n;

	if (at < from || at >= from + count)
		return copy_to_iter(from, count, to);
	n = copy_to_iter(from, before, to);
	if (n == before)
		n += copy_to_iter(&c, 1, to);
	if (n == before + 1)
		n += copy_to_iter(at + 1, count - n, to);
	return n;
}

#define copy_to_iter(from, count, to) \
	fault_copy(from, count, to, kheaders_xz_archive)
