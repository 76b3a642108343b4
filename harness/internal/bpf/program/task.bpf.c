// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads the running task, using the layout in the kernel's headers. It compiles
 * against the headers alone, as with bcc, and its answers are right if they are
 * the headers of the kernel that it is loaded into.
 */
#include <linux/sched.h>
#include <linux/cred.h>
#include <linux/mm_types.h>
#include <linux/nsproxy.h>
#include <linux/utsname.h>
#include <linux/version.h>
#include <uapi/linux/bpf.h>

static void *(*const get_current_task)(void) =
	(void *)BPF_FUNC_get_current_task;
static long (*const probe_read)(void *to, __u32 size, const void *from) =
	(void *)BPF_FUNC_probe_read_kernel;

#define READ(from) \
({ \
	typeof(from) value; \
	probe_read(&value, sizeof(value), &(from)); \
	value; \
})

/* The caller chooses the question; of a 64-bit answer it gets the low half. */
__section("raw_tracepoint/kheaders") __used
int task(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = get_current_task();
	__u32 text;

	switch (ctx->args[0]) {
	case 0:
		return LINUX_VERSION_CODE;
	case 1:
		return READ(task->pid);
	case 2:
		return READ(task->tgid);
	case 3:
		return READ(READ(task->real_parent)->tgid);
	case 4:
		probe_read(&text, sizeof(text), task->comm);
		return text;
	case 5:
		return READ(READ(task->cred)->fsuid.val);
	case 6:
		return READ(READ(task->mm)->arg_start);
	case 7:
		probe_read(&text, sizeof(text),
			   READ(READ(task->nsproxy)->uts_ns)->name.release);
		return text;
	}
	return -1;
}

char _license[] __section("license") __used = "GPL";
