// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"regexp"
	"strings"

	"github.com/kheaders/kheaders/harness/target"
)

// recogniser matches one kind of line in which a kernel reports trouble, in the
// forms that Linux 4.19 to 6.19 print. Lines are matched without their
// timestamp, and anywhere in the line, because a console line may begin with
// something that a program left unfinished.
type recogniser struct {
	// name is the name of the finding.
	name string
	// any are texts, one of which must be in the line.
	any []string
	// also, if set, must match as well.
	also *regexp.Regexp
	// panic says that the kernel panicked.
	panic bool
	// starts says that the line starts a report of its own, even inside another
	// one.
	starts bool
}

// Patterns for the recognisers that need more than texts.
var (
	// "DEBUG:" is not a bug.
	reBug        = regexp.MustCompile(`(^|[^E])BUG:`)
	reSlab       = regexp.MustCompile(`(^|[^E])BUG \S+ \(.*\):`)
	reHungTask   = regexp.MustCompile(`INFO: task .+ blocked `)
	reStall      = regexp.MustCompile(`INFO: \S+ (self-)?detected (expedited )?stall`)
	reDie        = regexp.MustCompile(`: [0-9a-f]{4,16} \[#[0-9]+\]`)
	reProcEntry  = regexp.MustCompile(`proc_dir_entry '.*' already registered`)
	reKmemleak   = regexp.MustCompile(`[0-9]+ new suspected memory leaks`)
	reUnsafeLock = regexp.MustCompile(`WARNING: \S+-safe -> \S+-unsafe lock order detected`)
)

// recognisers is the table. The first one that matches names the finding, so
// the specific ones come before the general ones. Those without a text get
// theirs from the architectures: every kernel is searched for the words of all
// of them.
var recognisers = withWords([]recogniser{
	{name: "panic", any: []string{"Kernel panic - not syncing"}, panic: true},
	{name: "early-panic", panic: true},

	{name: "kasan", any: []string{"BUG: KASAN:"}, starts: true},
	{name: "kfence", any: []string{"BUG: KFENCE:"}, starts: true},
	{name: "kmsan", any: []string{"BUG: KMSAN:"}, starts: true},
	{name: "kcsan", any: []string{"BUG: KCSAN:"}, starts: true},
	{name: "ubsan", any: []string{"UBSAN: "}},
	{name: "soft-lockup", any: []string{"BUG: soft lockup"}, starts: true},
	{name: "hard-lockup", any: []string{"hard LOCKUP"}, starts: true},
	{name: "rcu-stall", any: []string{"INFO: "}, also: reStall, starts: true},
	{name: "rcu-starved", any: []string{"kthread starved for "}},
	{name: "hung-task", any: []string{"INFO: task "}, also: reHungTask, starts: true},
	{name: "cfi", any: []string{"CFI failure at "}, starts: true},
	{name: "fortify", any: []string{"detected buffer overflow"}},
	{name: "usercopy", any: []string{"Kernel memory exposure attempt detected", "Kernel memory overwrite attempt detected"}},
	{name: "refcount", any: []string{"refcount_t: "}},
	{name: "list-corruption", any: []string{"list_add corruption", "list_del corruption", "list_add double add"}},
	{name: "kmemleak", any: []string{"new suspected memory leaks"}, also: reKmemleak, starts: true},
	{name: "kmemleak-object", any: []string{"unreferenced object 0x"}},
	{name: "proc-entry", any: []string{"already registered"}, also: reProcEntry},
	{name: "proc-leak", any: []string{"remove_proc_entry: removing non-empty directory"}},
	{name: "sysfs-duplicate", any: []string{"sysfs: cannot create duplicate filename"}, starts: true},
	{name: "slab", any: []string{"BUG "}, also: reSlab, starts: true},
	{name: "slab-leak", any: []string{"Slab cache still has objects", "Objects remaining in "}},
	{name: "lockdep", any: []string{
		"WARNING: possible circular locking dependency detected",
		"WARNING: possible recursive locking detected",
		"WARNING: possible irq lock inversion dependency detected",
		"WARNING: inconsistent lock state",
		"WARNING: bad unlock balance detected",
		"WARNING: bad contention detected",
		"WARNING: held lock freed",
		"WARNING: Nested lock was not taken",
		"WARNING: lock held when returning to user space",
		"WARNING: suspicious RCU usage",
		"WARNING: chain_key collision",
		"still has locks held!",
		"BUG: Invalid wait context",
		"INFO: trying to register non-static key",
	}, starts: true},
	{name: "lockdep-order", any: []string{"lock order detected"}, also: reUnsafeLock, starts: true},
	{name: "null-dereference", starts: true},
	{name: "page-fault", starts: true},
	{name: "kernel-fault", starts: true},
	{name: "general-protection", starts: true},
	{name: "kernel-bug", any: []string{"kernel BUG at "}},
	{name: "stack-overflow", starts: true},
	{name: "serror", starts: true},
	{name: "out-of-memory", any: []string{"invoked oom-killer", "Out of memory: "}, starts: true},
	{name: "page-allocation", any: []string{"page allocation failure: "}, starts: true},

	{name: "internal-error"},
	{name: "oops"},
	{name: "die", any: []string{" [#"}, also: reDie},
	{name: "bug", any: []string{"BUG:"}, also: reBug, starts: true},
	{name: "warning", any: []string{"WARNING:"}},
	{name: "cut-here", any: []string{"------------[ cut here ]------------"}, starts: true},
	// The last resort: somebody dumped a stack, for whatever reason.
	{name: "stack-trace"},
})

// withWords adds the architectures' own words to the table.
func withWords(table []recogniser) []recogniser {
	for i, r := range table {
		for _, t := range target.All() {
			table[i].any = append(table[i].any, t.Oops.Texts[r.name]...)
		}
	}
	return table
}

// matches reports whether the recogniser matches the line.
func (r *recogniser) matches(line string) bool {
	for _, text := range r.any {
		if strings.Contains(line, text) {
			return r.also == nil || r.also.MatchString(line)
		}
	}
	return false
}
