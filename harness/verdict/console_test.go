// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"slices"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/target"
)

// scan returns the findings in a console that arrives in one piece.
func scan(t *testing.T, table []recogniser, console string) []Finding {
	t.Helper()
	s := newScanner(nil, table)
	if n, err := s.Write([]byte(console)); n != len(console) || err != nil {
		t.Fatalf("Write returned %d, %v", n, err)
	}
	return s.Console().Findings
}

// samples are lines as kernels print them, by the name of the recogniser that
// must match them.
var samples = map[string][]string{
	"panic": {
		"Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
		"Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: f+0x1/0x2",
	},
	"early-panic": {
		"PANIC: early exception 0x0e IP 10:ffffffff81000000 error 0 cr2 0x0",
		"PANIC: double fault, error_code: 0x0",
	},
	"kasan":       {"BUG: KASAN: slab-out-of-bounds in kheaders_init+0x3c/0x60 [kheaders]", "BUG: KASAN: invalid-access"},
	"kfence":      {"BUG: KFENCE: use-after-free read in test+0x1/0x2"},
	"kmsan":       {"BUG: KMSAN: uninit-value in test+0x1/0x2"},
	"kcsan":       {"BUG: KCSAN: data-race in f+0x1/0x2 / g+0x3/0x4"},
	"ubsan":       {"UBSAN: shift-out-of-bounds in kheaders.c:12:3"},
	"soft-lockup": {"watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [insmod:57]"},
	"hard-lockup": {"NMI watchdog: Watchdog detected hard LOCKUP on cpu 0", "watchdog: Watchdog detected hard LOCKUP on cpu 1"},
	"rcu-stall": {
		"rcu: INFO: rcu_preempt self-detected stall on CPU",
		"rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
		"rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-... } 21 jiffies s: 5",
		"rcu: INFO: rcu_tasks detected stall, but suppressed full report due to a stuck CSD-lock.",
	},
	"rcu-starved": {"rcu: rcu_preempt kthread starved for 2100 jiffies! g1 f0x0 RCU_GP_WAIT_FQS(5)"},
	"hung-task": {
		"INFO: task insmod:57 blocked for more than 120 seconds.",
		"INFO: task rmmod:58 blocked in I/O wait for more than 120 seconds.",
	},
	"refcount": {"refcount_t: underflow; use-after-free."},
	"cfi": {
		"CFI failure at init_module+0x2c/0x84 [kheaders] (target: fault_takes+0x0/0x8 [kheaders]; expected type: 0x2ba4ecf5)",
		"CFI failure at do_one_initcall+0xdc/0x24c (no target information)",
	},
	"fortify": {
		"detected buffer overflow in memcpy",
		"memcpy: detected buffer overflow: 16 byte write of buffer size 8",
	},
	"usercopy": {
		"usercopy: Kernel memory exposure attempt detected from SLUB object 'kmalloc-16' (offset 0, size 64)!",
		"usercopy: Kernel memory overwrite attempt detected to kernel text (offset 64, size 8)!",
	},
	"list-corruption": {
		"list_add corruption. prev->next should be next (0), but was 1. (prev=2).",
		"list_del corruption. next->prev should be 0, but was 1. (next=2)",
		"list_add double add: new=0, prev=0, next=1.",
	},
	"kmemleak":        {"kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)"},
	"kmemleak-object": {"unreferenced object 0xffff888003a3c000 (size 64):"},
	"proc-entry":      {"proc_dir_entry 'kheaders.tar.xz' already registered"},
	"proc-leak":       {"remove_proc_entry: removing non-empty directory '/proc/a', leaking at least 'b'"},
	"sysfs-duplicate": {"sysfs: cannot create duplicate filename '/module/kheaders'"},
	"slab":            {"BUG kmalloc-64 (Tainted: G           O       ): Poison overwritten", "BUG kheaders (Not tainted): Object already free"},
	"slab-leak":       {"kmem_cache_destroy kheaders: Slab cache still has objects when called from f+0x1/0x2", "Objects remaining in kheaders on __kmem_cache_shutdown()"},
	"lockdep": {
		"WARNING: possible circular locking dependency detected",
		"WARNING: possible recursive locking detected",
		"WARNING: possible irq lock inversion dependency detected",
		"WARNING: inconsistent lock state",
		"WARNING: bad unlock balance detected!",
		"WARNING: bad contention detected!",
		"WARNING: held lock freed!",
		"WARNING: Nested lock was not taken",
		"WARNING: lock held when returning to user space!",
		"WARNING: suspicious RCU usage",
		"WARNING: chain_key collision",
		"WARNING: insmod/57 still has locks held!",
		"[ BUG: Invalid wait context ]",
		"INFO: trying to register non-static key.",
	},
	"lockdep-order":    {"WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected"},
	"null-dereference": {"BUG: kernel NULL pointer dereference, address: 0000000000000000"},
	"page-fault": {
		"BUG: unable to handle page fault for address: ffffc90000200000",
		"BUG: unable to handle kernel paging request at ffffc90000200000",
	},
	"kernel-fault":       {"Unable to handle kernel paging request at virtual address ffff800082000000"},
	"general-protection": {"general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP", "Oops: general protection fault, kernel NULL pointer dereference 0x8: 0000 [#1] SMP"},
	"kernel-bug":         {"kernel BUG at lib/list_debug.c:56!"},
	"stack-overflow":     {"Insufficient stack space to handle exception!", "BUG: stack guard page was hit at 00 (stack is 00..00)"},
	"serror":             {"SError Interrupt on CPU0, code 0x00000000be000011 -- SError"},
	"out-of-memory":      {"guest.test invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE), order=0", "Out of memory: Killed process 57 (guest.test) total-vm:1kB"},
	"page-allocation":    {"insmod: page allocation failure: order:4, mode:0xcc0(GFP_KERNEL)"},
	"internal-error":     {"Internal error: synchronous external abort: 0000000096000010 [#1] PREEMPT SMP"},
	"oops":               {"Oops: invalid opcode: 0000 [#1] PREEMPT SMP", "Oops - BUG"},
	"die":                {"invalid opcode: 0000 [#1] PREEMPT SMP", "divide error: 0000 [#12] SMP"},
	"bug":                {"BUG: scheduling while atomic: insmod/57/0x00000002", "BUG: sleeping function called from invalid context at kernel/x.c:1"},
	"warning": {
		"WARNING: CPU: 0 PID: 57 at kheaders.c:42 kheaders_init+0x20/0x1000 [kheaders]",
		"WARNING: kheaders.c:42 at kheaders_init+0x20/0x1000 [kheaders], CPU#0: insmod/57",
		"WARNING: [sz > 4 && order] kheaders.c:42 at kheaders_init+0x20/0x1000 [kheaders], CPU#0: insmod/57",
		"WARNING: at kheaders_init+0x20/0x1000 [kheaders], CPU#0: insmod/57",
	},
	"cut-here":    {"------------[ cut here ]------------"},
	"stack-trace": {"Call Trace:", "Call trace:"},
}

// half is what a program printed before the kernel did.
const half = "(half a line of a program, longer than the name of any task that there could be) "

// Each recogniser has samples, gives them its name, and is needed for that:
// without it, they get another name or none.
func TestRecognisers(t *testing.T) {
	for i, r := range recognisers {
		if len(samples[r.name]) == 0 {
			t.Errorf("%s has no sample", r.name)
		}
		without := slices.Delete(slices.Clone(recognisers), i, i+1)
		for _, sample := range samples[r.name] {
			for _, prefix := range []string{"", "[   12.345678] ", "[   12.345678][   T57] ", "<4>[    1.000000][    C0] ", "[    T1] ", half + "[   12.345678] "} {
				found := scan(t, recognisers, prefix+sample+"\n")
				if len(found) != 1 || found[0].Name != r.name || found[0].Panic != r.panic {
					t.Errorf("%q gives %+v, want one %s", prefix+sample, found, r.name)
					continue
				}
				if found[0].Title != sample {
					t.Errorf("%q has the title %q", prefix+sample, found[0].Title)
				}
			}
			// In the middle of a line, only a dying kernel is believed.
			if found := scan(t, recognisers, half+sample+"\n"); len(found) > 0 != r.panic {
				t.Errorf("%q gives %+v", half+sample, found)
			}
			if found := scan(t, without, sample+"\n"); len(found) == 1 && found[0].Name == r.name {
				t.Errorf("%q is %s without its recogniser", sample, r.name)
			}
		}
		for _, text := range r.any {
			if !slices.ContainsFunc(samples[r.name], func(s string) bool { return strings.Contains(s, text) }) {
				t.Errorf("no sample of %s has %q", r.name, text)
			}
		}
	}
	if len(samples) != len(recognisers) {
		t.Errorf("samples for %d recognisers, there are %d", len(samples), len(recognisers))
	}
}

// The recognisers know the words of all architectures.
func TestWords(t *testing.T) {
	for _, a := range target.All() {
		for name, texts := range a.Oops.Texts {
			i := slices.IndexFunc(recognisers, func(r recogniser) bool { return r.name == name })
			if i < 0 {
				t.Fatalf("%s has words for %q, and no recogniser has that name", a.Name, name)
			}
			for _, text := range texts {
				if !slices.Contains(recognisers[i].any, text) {
					t.Errorf("%s does not know %q of %s", name, text, a.Name)
				}
			}
		}
	}
}
