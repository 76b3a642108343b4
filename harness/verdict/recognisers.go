// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"regexp"
	"slices"
	"strings"

	"github.com/kheaders/kheaders/harness/target"
)

// recogniser matches one kind of line in which a kernel reports trouble, in the
// forms that Linux 4.19 to 6.19 print. A report is what the kernel's reporting
// functions print, at the start of a message: kernels have the words WARNING and
// BUG in advice and in names too, and repeat what stands on their command line.
type recogniser struct {
	// name is the name of the finding.
	name string
	// any are texts, one of which a message starts with.
	any []string
	// form is another way for a message to start.
	form *form
	// stamped is one that only counts if printk put a time before it, because a
	// program might print the same.
	stamped *form
	// notices are starts that are no trouble, whatever else matches.
	notices []string
	// panic says that the kernel panicked. The kernel may be unable to begin a
	// line by then, so these texts are found anywhere.
	panic bool
	// starts says that the line starts a report of its own, even inside another
	// one.
	starts bool
}

// form is how a message starts, where a text is not enough.
type form struct {
	// has is a text in it. Looking for that first is quicker by far.
	has string
	re  *regexp.Regexp
}

func newForm(has, expr string) *form { return &form{has, regexp.MustCompile(expr)} }

func (f *form) matches(text string) bool {
	return f != nil && strings.Contains(text, f.has) && f.re.MatchString(text)
}

// comm is the name of a task, or of a worker with its work queue.
const comm = `.{1,64}`

// Patterns for the recognisers that need more than texts.
var (
	hardLockup = newForm("hard LOCKUP", `^(NMI )?watchdog: (CPU[0-9]+: )?Watchdog detected hard LOCKUP on cpu`)
	slab       = newForm("BUG ", `^BUG \S+ \(.*\):`)
	slabLeak   = newForm("Slab cache still has objects", `^kmem_cache_destroy \S+: Slab cache still has objects`)
	hungTask   = newForm("INFO: task ", `^INFO: task .+ blocked `)
	stall      = newForm("INFO: ", `^INFO: \S+ (self-)?detected (expedited )?stall`)
	starved    = newForm("kthread starved for ", `^\S+ kthread starved for `)
	die        = newForm(" [#", `^[A-Za-z][\w ,:()-]*: [0-9a-f]{4,16} \[#[0-9]+\]`)
	fortify    = newForm("detected buffer overflow", `^\S+: detected buffer overflow`)
	procEntry  = newForm("already registered", `^proc_dir_entry '.*' already registered`)
	kmemleak   = newForm("new suspected memory leaks", `^kmemleak: [0-9]+ new suspected memory leaks`)
	unsafeLock = newForm("lock order detected", `^WARNING: \S+-safe -> \S+-unsafe lock order detected`)
	locksHeld  = newForm("still has locks held!", `^(WARNING|BUG): `+comm+`/[0-9]+ still has locks held!`)
	oom        = newForm("invoked oom-killer", `^`+comm+` invoked oom-killer: `)
	pageAlloc  = newForm("page allocation failure: ", `^`+comm+`: page allocation failure: `)
	stackGuard = newForm("stack guard page was hit", `^BUG: \S+ stack guard page was hit`)

	// Before 6.19, CPU and PID come first. Since then, a condition may.
	warning = newForm("WARNING: ", `^WARNING: (CPU: [0-9]|(\[.*\] )?(\S+:[0-9]+ )?at \S)`)
	// The unwinder warns with a text of its own.
	anyWarning = newForm("WARNING: ", `^WARNING: `)

	bug = newForm("BUG: ", `^BUG: (`+strings.Join([]string{
		"scheduling while atomic", "sleeping function called from invalid context", `using \S+ in preemptible`,
		"workqueue lockup", "workqueue leaked", "spinlock ", "rwlock ", "Bad page ", "Bad rss-counter ", "non-zero ",
		"Dentry ", "MAX_[A-Z_]+ too low", "looking up invalid subclass", `key \S+ `, "recent printk recursion",
		"atomic counter ", "arch topology ", "memory leak",
	}, "|")+`)`)
	anyBug = newForm("BUG: ", `^([\w/-]+: )?BUG: `)
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
	{name: "hard-lockup", form: hardLockup, starts: true},
	{name: "rcu-stall", form: stall, starts: true},
	{name: "rcu-starved", form: starved},
	{name: "hung-task", form: hungTask, starts: true},
	{name: "cfi", any: []string{"CFI failure at "}, starts: true},
	{name: "fortify", any: []string{"detected buffer overflow"}, form: fortify},
	{name: "usercopy", any: []string{
		"usercopy: Kernel memory exposure attempt detected", "usercopy: Kernel memory overwrite attempt detected",
	}},
	{name: "refcount", any: []string{"refcount_t: "}},
	{name: "list-corruption", any: []string{"list_add corruption", "list_del corruption", "list_add double add"}},
	{name: "kmemleak", form: kmemleak, starts: true},
	{name: "kmemleak-object", any: []string{"unreferenced object 0x"}},
	{name: "proc-entry", form: procEntry},
	{name: "proc-leak", any: []string{"remove_proc_entry: removing non-empty directory"}},
	{name: "sysfs-duplicate", any: []string{"sysfs: cannot create duplicate filename"}, starts: true},
	{name: "slab", form: slab, starts: true},
	{name: "slab-leak", any: []string{"Objects remaining in "}, form: slabLeak},
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
		"BUG: Invalid wait context",
		"INFO: trying to register non-static key",
	}, form: locksHeld, starts: true},
	{name: "lockdep-order", form: unsafeLock, starts: true},
	{name: "null-dereference", starts: true},
	{name: "page-fault", starts: true},
	{name: "kernel-fault", starts: true},
	{name: "general-protection", starts: true},
	{name: "kernel-bug", any: []string{"kernel BUG at "}},
	{name: "stack-overflow", form: stackGuard, starts: true},
	{name: "serror", starts: true},
	{name: "out-of-memory", any: []string{"Out of memory: "}, form: oom, starts: true},
	{name: "page-allocation", form: pageAlloc, starts: true},

	{name: "internal-error"},
	{name: "oops"},
	{name: "die", form: die},
	{name: "bug", form: bug, stamped: anyBug, starts: true},
	{name: "warning", form: warning, stamped: anyWarning, notices: []string{
		"WARNING: x1-x3 nonzero in violation of boot protocol",
		"WARNING: BIOS bug: ",
		"WARNING: MP table in the EBDA can be UNSAFE",
		"WARNING: KASAN doesn't support memory hot-add",
		"WARNING: polling idle and HT enabled",
	}},
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

// matches reports whether a message is a report of the recogniser's kind.
func (r *recogniser) matches(m message) bool {
	return r.begins(m.text, m.stamped) || m.bare != "" && r.begins(m.bare, m.stamped)
}

// begins reports whether a text begins as a report does.
func (r *recogniser) begins(text string, stamped bool) bool {
	has := func(start string) bool { return strings.HasPrefix(text, start) }
	if slices.ContainsFunc(r.notices, has) {
		return false
	}
	return slices.ContainsFunc(r.any, has) ||
		r.form.matches(text) || stamped && r.stamped.matches(text)
}
