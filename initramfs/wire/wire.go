// SPDX-License-Identifier: BSD-3-Clause

// Package wire defines the protocol between host and guest: the plan that the
// host puts into the initramfs, and the events that the guest sends back over
// virtio-serial, one JSON object per line.
package wire

// Version is the version of the protocol. The guest sends it in its first
// event; the host refuses any other.
const Version = 1

// Port is the name of the virtio-serial port that carries the events.
const Port = "org.kheaders.events"

// MaxLine is the maximum length of an event line in bytes, including the newline.
// A sender splits output to stay below it. A receiver treats a longer line as
// malformed and goes on with the next one.
const MaxLine = 32 << 10

// ConsoleMarker starts a line that a test writes to /dev/kmsg. With a space and
// the test's name after it, it marks where on the console the test began;
// without a name, where it ended. Events take another way to the host, and
// arrive later.
const ConsoleMarker = "kheaders-test:"

// PlanPath is the plan's path in the guest.
const PlanPath = "/kheaders/plan.json"

// Plan tells the guest what to do. The host writes it, for one boot.
type Plan struct {
	Version int `json:"version"`
	// TestBinary is the guest's path of the compiled test binary. If empty, the
	// guest runs a shell on the console instead of tests.
	TestBinary string `json:"test_binary,omitempty"`
	// DeadlineSeconds is the wall time after which the guest kills the test
	// binary, reports that, and resets the machine. The host has its own
	// deadline; this one lets the guest say what it was doing.
	DeadlineSeconds float64 `json:"deadline_seconds"`
	// TestDeadlineSeconds is the same for each top-level test.
	TestDeadlineSeconds float64 `json:"test_deadline_seconds"`
	// Drivers are the guest's paths of those of the kernel's modules that the
	// port needs. The agent loads them, in this order, before it opens the port.
	Drivers []string `json:"drivers,omitempty"`
	Expect  Expect   `json:"expect"`
}

// Expect is what the host knows about the headers. The guest tests compare it
// with what they see.
type Expect struct {
	// Module is the guest's path of kheaders.ko; empty if the headers are built
	// in.
	Module string `json:"module,omitempty"`
	// SysfsTaken is true if the kernel's own kheaders is built in
	// (CONFIG_IKHEADERS=y). Ours leaves its file in /sys alone.
	SysfsTaken bool `json:"sysfs_taken,omitempty"`
	// OwnModule is the guest's path of the kernel's own kheaders.ko
	// (CONFIG_IKHEADERS=m); empty if it has none.
	OwnModule string `json:"own_module,omitempty"`
	// Unsigned is the guest's path of Module without its signature; empty unless
	// the kernel refuses unsigned modules.
	Unsigned string `json:"unsigned,omitempty"`
	// Compressed is the guest's path of Module in a compression that the kernel
	// itself can unpack; empty if there is none.
	Compressed string `json:"compressed,omitempty"`
	// BPF is the guest's path of a BPF program that was compiled against the
	// archive's headers; empty if there is none to load.
	BPF string `json:"bpf,omitempty"`
	// SHA256 is the archive's digest in hex, as computed on the host.
	SHA256 string `json:"sha256"`
	// Size is the archive's length in bytes.
	Size int64 `json:"size"`
	// Release is the kernel release that the guest must report (uname -r).
	Release string `json:"release"`
	// Version is the kernel version that the headers must have, if Release does
	// not say it: Debian's 6.1.0-56 is 6.1.192.
	Version string `json:"version,omitempty"`
	// Machine is the machine that the guest must report (uname -m).
	Machine string `json:"machine"`
	// Allowed are texts in kernel reports that the host tolerates.
	Allowed []string `json:"allowed,omitempty"`
	// Thorough makes the guest decode the whole archive, not just its start.
	Thorough bool `json:"thorough,omitempty"`
}

// Kind is the type of an event.
type Kind string

// The kinds of event, in the order in which a healthy guest sends them.
const (
	// KindHello is the agent's first event. Version and Uptime are set.
	KindHello Kind = "hello"
	// KindStart says that Test has begun.
	KindStart Kind = "start"
	// KindAttr is a fact that Test found: Key and Value are set.
	KindAttr Kind = "attr"
	// KindOutput is a piece of what the test binary printed, in Output.
	KindOutput Kind = "output"
	// KindEnd says that Test has ended with Status after Elapsed seconds.
	KindEnd Kind = "end"
	// KindExit is the end of the test binary, with its exit code in Code, or -1
	// and an Error if it did not exit by itself.
	KindExit Kind = "exit"
	// KindFail is a failure of the agent itself, in Error.
	KindFail Kind = "fail"
	// KindDeadline says that a deadline of the plan passed, and that the agent
	// killed the test binary. Error says which deadline.
	KindDeadline Kind = "deadline"
	// KindDone is the last event. Nothing may follow it.
	KindDone Kind = "done"
)

// Status is how a test ended.
type Status string

// The results a test can have.
const (
	StatusPass Status = "pass"
	StatusFail Status = "fail"
	StatusSkip Status = "skip"
)

// Event is one line from the guest.
type Event struct {
	Kind Kind `json:"kind"`
	// Uptime is the guest's time since boot in seconds.
	Uptime  float64 `json:"uptime"`
	Version int     `json:"version,omitempty"`
	// Test is the test's full name; subtests are Parent/Child.
	Test    string  `json:"test,omitempty"`
	Status  Status  `json:"status,omitempty"`
	Elapsed float64 `json:"elapsed,omitempty"`
	Key     string  `json:"key,omitempty"`
	Value   string  `json:"value,omitempty"`
	Output  string  `json:"output,omitempty"`
	Code    int     `json:"code,omitempty"`
	Error   string  `json:"error,omitempty"`
}
