// SPDX-License-Identifier: BSD-3-Clause

package verdict

// Killed says why the harness ended QEMU.
type Killed string

// The reasons to end QEMU.
const (
	// NotKilled: QEMU ended by itself.
	NotKilled Killed = ""
	// KilledSilent: neither the console nor the event port said anything for
	// as long as the watchdog waits.
	KilledSilent Killed = "watchdog"
	// KilledTest: one test took longer than a test may.
	KilledTest Killed = "test-deadline"
	// KilledDeadline: the run took longer than a run may.
	KilledDeadline Killed = "deadline"
	// KilledFlood: the guest sent more than [MaxEvents].
	KilledFlood Killed = "flood"
	// KilledInterrupt: the user or the system asked us to stop, as Err says.
	KilledInterrupt Killed = "interrupt"
)

// MaxEvents is how much a guest may send on the event port, in bytes. A healthy
// one sends some 10 KiB; the rest of a run is not worth a disk.
const MaxEvents = 64 << 20

// Exit is how QEMU ended.
type Exit struct {
	// Err is what kept us from starting QEMU, from waiting for it or from
	// keeping what it printed; nil when that worked, whatever the exit code.
	Err error
	// Code is the exit code, or -1 when a signal ended QEMU.
	Code int
	// Signal is the name of that signal, when it is known.
	Signal string
	// Killed says whether we ended QEMU, and why.
	Killed Killed
	// LimitSeconds is the limit that was exceeded, for Killed.
	LimitSeconds float64
	// Stderr is the end of what QEMU printed on its standard error.
	Stderr string
}

// Evidence is all that [Decide] goes by.
type Evidence struct {
	// Declared are the top-level tests that the host found in the guest test
	// binary. Exactly these have to report.
	Declared []string
	// SHA256 is the archive's digest in hex as taken on the host.
	SHA256 string
	// Record is what came over the event port.
	Record Record
	// Console is what came over the console.
	Console Console
	// Exit is how QEMU ended.
	Exit Exit
}
