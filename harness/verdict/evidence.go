// SPDX-License-Identifier: BSD-3-Clause

package verdict

// Killed says why the harness ended QEMU.
type Killed string

// The reasons for ending QEMU.
const (
	// NotKilled: QEMU ended by itself.
	NotKilled Killed = ""
	// KilledSilent: neither the console nor the event port said anything for as
	// long as the watchdog waits.
	KilledSilent Killed = "watchdog"
	// KilledTest: one test took too long.
	KilledTest Killed = "test-deadline"
	// KilledDeadline: the run took too long.
	KilledDeadline Killed = "deadline"
	// KilledFlood: the guest sent more than [MaxEvents].
	KilledFlood Killed = "flood"
	// KilledInterrupt: the user or the system asked us to stop; Err says which.
	KilledInterrupt Killed = "interrupt"
)

// MaxEvents is how much a guest may send on the event port, in bytes. A healthy
// one sends about 10 KiB. What else comes in is not worth filling a disk.
const MaxEvents = 64 << 20

// Exit is how QEMU ended.
type Exit struct {
	// Err says that we could not start QEMU, wait for it, or keep what it
	// printed. It is nil if that worked, whatever the exit code.
	Err error
	// Code is the exit code, or -1 if a signal ended QEMU.
	Code int
	// Signal is that signal's name, if known.
	Signal string
	// Killed says whether we ended QEMU, and why.
	Killed Killed
	// LimitSeconds is the limit that Killed says was exceeded.
	LimitSeconds float64
	// Stderr is the end of what QEMU printed on its standard error.
	Stderr string
}

// Evidence is everything that [Decide] goes by.
type Evidence struct {
	// Declared are the top-level tests that the host found in the guest test
	// binary. Exactly these must report.
	Declared []string
	// SHA256 is the archive's digest on the host, in hex.
	SHA256 string
	// Record is what came over the event port.
	Record Record
	// Console is what came over the console.
	Console Console
	// Exit is how QEMU ended.
	Exit Exit
}
