// SPDX-License-Identifier: BSD-3-Clause

// Package wire holds what host and guest say to each other: the plan that the
// host puts into the initramfs, and the events that the guest sends back over
// virtio-serial, one JSON object a line.
package wire

// Version is the version of the protocol. The guest sends it in its first
// event; the host refuses any other.
const Version = 1

// Port is the name of the virtio-serial port that carries the events.
const Port = "org.kheaders.events"

// MaxLine is the longest event line in bytes, newline included. A sender
// splits its output to stay below it; a receiver treats a longer line as
// malformed and goes on with the next one.
const MaxLine = 32 << 10

// ConsoleMarker begins a line that a test writes to /dev/kmsg. Followed by a
// space and the test's name it tells the host exactly where on the console the
// test began; without a name, that it ended. Events reach the host on another
// way, and later.
const ConsoleMarker = "kheaders-test:"

// PlanPath is where the plan lies in the guest.
const PlanPath = "/kheaders/plan.json"

// Plan is what the guest is to do, written by the host for one boot.
type Plan struct {
	Version int `json:"version"`
	// TestBinary is the path in the guest of the compiled test binary.
	// Empty: run no tests, but the shell on the console.
	TestBinary string `json:"test_binary,omitempty"`
	// DeadlineSeconds is the wall time after which the guest kills the test
	// binary, reports that, and powers off. The host has a deadline of its
	// own; this one lets the guest say what it was doing.
	DeadlineSeconds float64 `json:"deadline_seconds"`
	// TestDeadlineSeconds is the same for each top-level test.
	TestDeadlineSeconds float64 `json:"test_deadline_seconds"`
	// Drivers are the paths in the guest of the kernel's own modules that the
	// port needs. The agent loads them, in this order, before it opens it.
	Drivers []string `json:"drivers,omitempty"`
	Expect  Expect   `json:"expect"`
}

// Expect is what the host knows of the headers and the guest tests compare
// with what they see.
type Expect struct {
	// Module is the path in the guest of kheaders.ko; empty when the headers
	// are built in.
	Module string `json:"module,omitempty"`
	// SysfsTaken says that the kernel has a kheaders of its own built in
	// (CONFIG_IKHEADERS=y), whose file in /sys ours leaves alone.
	SysfsTaken bool `json:"sysfs_taken,omitempty"`
	// OwnModule is the path in the guest of the kernel's own kheaders.ko
	// (CONFIG_IKHEADERS=m); empty when it has none.
	OwnModule string `json:"own_module,omitempty"`
	// Unsigned is the path in the guest of Module without its signature;
	// empty unless the kernel refuses unsigned modules.
	Unsigned string `json:"unsigned,omitempty"`
	// Compressed is the path in the guest of Module, compressed as the kernel
	// itself can decompress it; empty when it can not.
	Compressed string `json:"compressed,omitempty"`
	// BPF is the path in the guest of a BPF program that was compiled against
	// the archive's headers; empty when none is to be loaded.
	BPF string `json:"bpf,omitempty"`
	// SHA256 is the archive's digest in hex, as taken on the host.
	SHA256 string `json:"sha256"`
	// Size is the archive's length in bytes.
	Size int64 `json:"size"`
	// Release is the kernel release that the guest must report (uname -r).
	Release string `json:"release"`
	// Version is the kernel version that the headers must tell, where it is
	// more than Release says: Debian's 6.1.0-56 is 6.1.192.
	Version string `json:"version,omitempty"`
	// Machine is the machine that the guest must report (uname -m).
	Machine string `json:"machine"`
	// Allowed are texts of the kernel's reports that the host lets pass.
	Allowed []string `json:"allowed,omitempty"`
	// Thorough makes the guest decode the whole archive, not only its start.
	Thorough bool `json:"thorough,omitempty"`
}

// Kind tells what an event is.
type Kind string

// The kinds of event, in the order in which a healthy guest sends them.
const (
	// KindHello is the agent's first event. Version and Uptime are set.
	KindHello Kind = "hello"
	// KindStart says that Test has begun.
	KindStart Kind = "start"
	// KindAttr is a fact that Test found, as Key and Value.
	KindAttr Kind = "attr"
	// KindOutput is a piece of what the test binary printed, in Output.
	KindOutput Kind = "output"
	// KindEnd says that Test has ended with Status after Elapsed seconds.
	KindEnd Kind = "end"
	// KindExit is the end of the test binary, with Code, or -1 and Error when
	// it did not exit by itself.
	KindExit Kind = "exit"
	// KindFail is a failure of the agent itself, in Error.
	KindFail Kind = "fail"
	// KindDeadline says that a deadline of the plan passed and the agent killed
	// the test binary, in words in Error.
	KindDeadline Kind = "deadline"
	// KindDone is the last event. Nothing may follow it.
	KindDone Kind = "done"
)

// Status is how a test ended.
type Status string

// The ends a test can have.
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
