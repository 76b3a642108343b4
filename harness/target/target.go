// SPDX-License-Identifier: BSD-3-Clause

// Package target is the table of architectures: everything that differs between
// them is here, and nowhere else.
package target

import (
	"cmp"
	"debug/elf"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Target describes one architecture, from the kernel's build to QEMU.
type Target struct {
	// Name is what users write, what reports say, and what files are named
	// after.
	Name string
	// Uname is what uname -m prints. DKMS uses it as well.
	Uname string
	// MakeArch is the value of ARCH= in the kernel's make.
	MakeArch string
	// SrcArch is the directory below arch/ in the kernel tree.
	SrcArch string
	// Debian is Debian's name for it.
	Debian string
	// DebianFlavour is the one of Debian's kernels for it that we use, as the
	// names of its packages spell it.
	DebianFlavour string
	// GOARCH is Go's name for it.
	GOARCH string
	// GoLevel is the variable that makes Go compile for no more than CPU
	// supports, whatever the user's environment says. Empty: Go has no levels
	// for it.
	GoLevel string
	// CrossPrefix goes before gcc, ld and objcopy on a host of another
	// architecture. Without its dash it is the compilers' triplet.
	CrossPrefix string
	// Machine is the ELF machine of its programs, kernels and modules.
	Machine elf.Machine
	// ByteOrder is their byte order, as ELF has it.
	ByteOrder elf.Data
	// Objtool says that the kernel's build runs objtool, which needs libelf.
	Objtool bool

	// ImageTarget is the make target that builds the image to boot.
	ImageTarget string
	// ImagePath is where that image is, below the object directory.
	ImagePath string

	// QEMU is the program that emulates it.
	QEMU string
	// QEMUPackage is the Debian package that has QEMU.
	QEMUPackage string
	// QEMUMachine is the value of -machine.
	QEMUMachine string
	// CPU is the value of -cpu under TCG: the cheapest that boots.
	CPU string
	// Firmware is the file that the machine starts with, by its name in QEMU's
	// data directory. Empty: QEMU's default, or none.
	Firmware string
	// FirmwarePackage is the Debian package that has it.
	FirmwarePackage string
	// Transport is the bus of the machine's devices.
	Transport Transport
	// PanicDevice is the device through which a kernel reports a panic to QEMU.
	// Empty: QEMU notices by itself.
	PanicDevice string

	// Console is the name of the serial console's tty.
	Console string
	// KernelArgs are added to the kernel's command line.
	KernelArgs []string
	// TCGKernelArgs are added under TCG only.
	TCGKernelArgs []string
	// TCGTicksArg is the kernel argument for the rate of the guest's tick
	// counter in kHz, if the kernel can't measure it under TCG.
	TCGTicksArg string
	// Slowdown multiplies deadlines under TCG. At least 1, which would mean that
	// emulation is as fast as KVM.
	Slowdown float64
	// BootBudget is how long a boot may take under TCG, from QEMU's start to the
	// verdict, on two slow cores. make bench-boot enforces it.
	BootBudget time.Duration

	// Oops is how its kernel reports trouble.
	Oops Oops

	// Host is a machine with virtualization that QEMU can emulate.
	Host Host
}

// Host is a machine with KVM, on a host that need not have it.
type Host struct {
	// Machine and CPU are the values of -machine and -cpu.
	Machine, CPU string
	// Module is the driver that provides /dev/kvm, if it is not built in.
	Module string
}

// Transport is the bus of a machine's virtio devices. QEMU's names for the
// devices end in it.
type Transport string

// The buses that QEMU has virtio devices for.
const (
	PCI  Transport = "pci"
	CCW  Transport = "ccw"
	MMIO Transport = "device"
)

// Driver returns the name of the kernel module that finds devices on the bus.
func (t Transport) Driver() string {
	if t == MMIO {
		return "virtio_mmio"
	}
	return "virtio_" + string(t)
}

// Oops is what is specific to the trouble reports of one architecture's kernel.
type Oops struct {
	// Texts are parts of the lines that say what went wrong, by the recogniser's
	// name in package verdict.
	Texts map[string][]string
	// Counter is a regular expression for the line with the address of the
	// instruction itself. Every other address in a report is the one after a
	// call.
	Counter string
}

// table is in the order in which a run without --arch goes through it.
var table = []Target{
	{
		Name:     "x86_64",
		Uname:    "x86_64",
		MakeArch: "x86_64",
		SrcArch:  "x86",
		Debian:   "amd64",
		// Debian's cloud images run this one. It is a third of the general
		// kernel's size and boots twice as fast.
		DebianFlavour: "cloud-amd64",
		GOARCH:        "amd64",
		GoLevel:       "GOAMD64=v1",
		CrossPrefix:   "x86_64-linux-gnu-",
		Machine:       elf.EM_X86_64,
		ByteOrder:     elf.ELFDATA2LSB,
		Objtool:       true,

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
		Firmware:        "qboot.rom",
		FirmwarePackage: "qemu-system-data",
		Transport:       PCI,
		PanicDevice:     "pvpanic-pci",

		Console: "ttyS0",
		// Without ACPI, the test kernel resets with a triple fault, which
		// -no-reboot turns into QEMU's exit.
		KernelArgs: []string{"reboot=t"},
		// Without ACPI the kernel finds no timer to measure the TSC with, and
		// would fall back to jiffies.
		TCGTicksArg: "tsc_early_khz",
		// The kernel checks timers against each other to find broken hardware. On
		// a busy host, where the guest stalls now and then, the checks fail.
		TCGKernelArgs: []string{"tsc=reliable", "no_timer_check", "nolapic_timer"},
		Slowdown:      10,
		BootBudget:    2500 * time.Millisecond,

		// Not max: its XSAVE sizes are inconsistent, and a kernel under KVM warns
		// about them.
		Host: Host{Machine: "q35", CPU: "qemu64,svm=on,npt=on", Module: "kvm_amd"},

		Oops: Oops{
			Texts: map[string][]string{
				"early-panic":        {"PANIC: early exception", "PANIC: double fault"},
				"null-dereference":   {"BUG: kernel NULL pointer dereference"},
				"page-fault":         {"BUG: unable to handle "},
				"general-protection": {"general protection fault"},
				"stack-overflow":     {"BUG: stack guard page was hit"},
				"oops":               {"Oops: "},
				"stack-trace":        {"Call Trace:"},
			},
			Counter: `RIP: `,
		},
	},
	{
		Name:          "arm64",
		Uname:         "aarch64",
		MakeArch:      "arm64",
		SrcArch:       "arm64",
		Debian:        "arm64",
		DebianFlavour: "cloud-arm64",
		GOARCH:        "arm64",
		GoLevel:       "GOARM64=v8.0",
		CrossPrefix:   "aarch64-linux-gnu-",
		Machine:       elf.EM_AARCH64,
		ByteOrder:     elf.ELFDATA2LSB,

		ImageTarget: "Image",
		ImagePath:   "arch/arm64/boot/Image",

		QEMU:        "qemu-system-aarch64",
		QEMUPackage: "qemu-system-arm",
		QEMUMachine: "virt",
		// Not max: emulating pointer authentication quadruples the boot.
		CPU:         "cortex-a72",
		Transport:   PCI,
		PanicDevice: "pvpanic-pci",

		Console:    "ttyAMA0",
		Slowdown:   10,
		BootBudget: 1800 * time.Millisecond,

		Host: Host{Machine: "virt,virtualization=on,gic-version=3", CPU: "neoverse-n1"},

		Oops: Oops{
			Texts: map[string][]string{
				// The report starts with the address, and the kernel dies a dozen lines
				// later.
				"kernel-fault":   {"Unable to handle kernel "},
				"stack-overflow": {"Insufficient stack space to handle exception"},
				"serror":         {"SError Interrupt on CPU"},
				"internal-error": {"Internal error: "},
				"oops":           {"Oops - "},
				"stack-trace":    {"Call trace:"},
			},
			Counter: `\bpc : `,
		},
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

// Lookup returns the architecture that the kernel, Debian or Go calls by the
// name.
func Lookup(name string) (Target, error) {
	for _, t := range table {
		if slices.Contains([]string{t.Name, t.Uname, t.Debian, t.GOARCH}, name) {
			return t, nil
		}
	}
	return Target{}, fmt.Errorf("unknown architecture %q: known are %s", name, strings.Join(Names(), ", "))
}

// LookupELF returns the architecture that an ELF file is for.
func LookupELF(machine elf.Machine, order elf.Data) (Target, bool) {
	for _, t := range table {
		if t.Machine == machine && t.ByteOrder == order {
			return t, true
		}
	}
	return Target{}, false
}

// Quickest returns the architecture that boots fastest under TCG, for what does
// not depend on the architecture.
func Quickest() Target {
	return slices.MinFunc(table, func(a, b Target) int { return cmp.Compare(a.BootBudget, b.BootBudget) })
}

// Native reports whether the host is of this architecture.
func (t Target) Native() bool { return t.GOARCH == runtime.GOARCH }

// Cross returns the value for CROSS_COMPILE: the prefix of the cross tools, or
// nothing on a host of this architecture.
func (t Target) Cross() string {
	if t.Native() {
		return ""
	}
	return t.CrossPrefix
}

// Triplet returns the compilers' name for it.
func (t Target) Triplet() string { return strings.TrimSuffix(t.CrossPrefix, "-") }

// BPF returns the compilers' name for the BPF target of its byte order.
func (t Target) BPF() string {
	if t.ByteOrder == elf.ELFDATA2MSB {
		return "bpfeb"
	}
	return "bpfel"
}

// GoEnv returns the variables that make Go compile programs for its guest.
func (t Target) GoEnv() []string {
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + t.GOARCH}
	if t.GoLevel != "" {
		env = append(env, t.GoLevel)
	}
	return env
}
