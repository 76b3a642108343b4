/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/kernel.h>
#include <linux/uio.h>

/* Copies up to the end of a page at a time. */
static inline size_t fault_copy(const char *from, size_t count,
				struct iov_iter *to, const char *archive)
{
	const size_t page = 4096;
	size_t done = 0;

	while (done < count) {
		size_t pos = from - archive + done;
		size_t want = min(count - done, page - pos % page);
		size_t n;

		if (pos / page == 1)
			pos -= page;
		n = copy_to_iter(archive + pos, want, to);
		done += n;
		if (n < want)
			break;
	}
	return done;
}

#define copy_to_iter(from, count, to) \
	fault_copy(from, count, to, kheaders_xz_archive)
