// SPDX-License-Identifier: BSD-3-Clause

// Package target is the table of architectures: everything that differs
// between them stands here, and nowhere else.
package target

import (
	"debug/elf"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Target describes one architecture, from the kernel's build to QEMU.
type Target struct {
	// Name is the kernel's name for it, and ours: x86_64, arm64.
	Name string
	// GOARCH is Go's name for it.
	GOARCH string
	// SrcArch is the directory below arch/ in the kernel tree.
	SrcArch string
	// CrossPrefix goes before gcc, ld and objcopy when the host is of
	// another architecture.
	CrossPrefix string
	// Machine is the ELF machine of its kernel modules.
	Machine elf.Machine
	// Debian is Debian's name for it.
	Debian string

	// ImageTarget is the make target that builds the image to boot.
	ImageTarget string
	// ImagePath is that image below the object directory.
	ImagePath string

	// QEMU is the program that emulates it.
	QEMU string
	// QEMUPackage is the Debian package that holds QEMU.
	QEMUPackage string
	// QEMUMachine is the value of -machine.
	QEMUMachine string
	// CPU is the value of -cpu under TCG, the cheapest that boots.
	CPU string
	// QEMUArgs are arguments that this machine needs.
	QEMUArgs []string

	// Console is the name of the serial console's tty.
	Console string
	// KernelArgs are added to the kernel's command line.
	KernelArgs []string
	// TCGKernelArgs are added under TCG only.
	TCGKernelArgs []string
	// TCGTicksArg is the kernel argument that takes the rate of the guest's
	// tick counter in kHz, for a kernel that cannot measure it under TCG.
	TCGTicksArg string
	// Slowdown multiplies deadlines under TCG. It is 1 for a target whose
	// emulation is as fast as KVM, which none is.
	Slowdown float64
	// BootBudget is what a boot may take under TCG from QEMU's start to the
	// verdict, on two slow cores: what make bench-boot allows.
	BootBudget time.Duration
	// ProbeImage is a kernel that prints one byte on the console and spins. On
	// KVM that works it needs a fraction of a second, on KVM that does not run
	// its guests on the processor much more than that.
	ProbeImage []byte
}

// table is in the order in which a run without --arch takes them.
var table = []Target{
	{
		Name:        "x86_64",
		GOARCH:      "amd64",
		SrcArch:     "x86",
		CrossPrefix: "x86_64-linux-gnu-",
		Machine:     elf.EM_X86_64,
		Debian:      "amd64",

		// The uncompressed vmlinux, entered through PVH: a bzImage spends
		// up to 1.3 s of each emulated boot on decompression.
		ImageTarget: "vmlinux",
		ImagePath:   "vmlinux",

		QEMU:        "qemu-system-x86_64",
		QEMUPackage: "qemu-system-x86",
		// Not microvm: under TCG it hangs in calibrate_delay now and then.
		QEMUMachine: "q35",
		CPU:         "qemu64",
		// qboot does in milliseconds what SeaBIOS needs 0.3 s for.
		QEMUArgs: []string{"-bios", "qboot.rom"},

		Console: "ttyS0",
		// No ACPI in the test kernel: a triple fault is its way to reset,
		// which -no-reboot turns into QEMU's exit.
		KernelArgs: []string{"reboot=t"},
		// Without ACPI the kernel finds no timer to measure the TSC by, and
		// would fall back to jiffies.
		TCGTicksArg: "tsc_early_khz",
		// The checks of one timer against another fail on a busy host, where
		// the guest stands still now and then; they are for broken hardware.
		TCGKernelArgs: []string{"tsc=reliable", "no_timer_check", "nolapic_timer"},
		Slowdown:      10,
		BootBudget:    2500 * time.Millisecond,
		ProbeImage:    probeX86(),
	},
	{
		Name:        "arm64",
		GOARCH:      "arm64",
		SrcArch:     "arm64",
		CrossPrefix: "aarch64-linux-gnu-",
		Machine:     elf.EM_AARCH64,
		Debian:      "arm64",

		ImageTarget: "Image",
		ImagePath:   "arch/arm64/boot/Image",

		QEMU:        "qemu-system-aarch64",
		QEMUPackage: "qemu-system-arm",
		QEMUMachine: "virt",
		// Not max: emulating pointer authentication quadruples the boot.
		CPU: "cortex-a72",

		Console:    "ttyAMA0",
		Slowdown:   10,
		BootBudget: 1800 * time.Millisecond,
		ProbeImage: probeARM64(),
	},
}

// All returns every architecture, in a fixed order.
func All() []Target { return slices.Clone(table) }

// Names returns the names of all architectures, in the same order.
func Names() []string {
	var names []string
	for _, t := range table {
		names = append(names, t.Name)
	}
	return names
}

// Lookup returns the architecture of that name.
func Lookup(name string) (Target, error) {
	for _, t := range table {
		if t.Name == name {
			return t, nil
		}
	}
	return Target{}, fmt.Errorf("unknown architecture %q: known are %s", name, strings.Join(Names(), ", "))
}

// Native tells whether the host is of this architecture.
func (t Target) Native() bool { return t.GOARCH == runtime.GOARCH }

// Cross returns the value for CROSS_COMPILE: the prefix of the cross tools,
// or nothing on a host of the same architecture.
func (t Target) Cross() string {
	if t.Native() {
		return ""
	}
	return t.CrossPrefix
}
