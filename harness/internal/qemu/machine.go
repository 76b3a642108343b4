// SPDX-License-Identifier: BSD-3-Clause

// Package qemu boots a kernel in QEMU: it puts the command line together, finds
// out which accelerator works, and runs the machine to its end through vmtest,
// so that nothing of it remains afterwards.
package qemu

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	vmtest "github.com/hugelgupf/vmtest/qemu"

	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/initramfs/wire"
)

// Accel is an accelerator's name, as QEMU's -accel takes it.
type Accel string

// The known accelerators.
const (
	TCG Accel = "tcg"
	KVM Accel = "kvm"
)

// Machine is a virtual machine to boot.
type Machine struct {
	Target target.Target
	Accel  Accel
	// Kernel is the path of the image.
	Kernel string
	// Initramfs is the path of the cpio archive, or empty.
	Initramfs string
	// MemoryMiB is the guest's memory.
	MemoryMiB int
	// TicksKHz is the rate of the guest's tick counter under TCG, see
	// [HostTicks]. Zero lets the guest find out.
	TicksKHz int
	// KernelArgs are added to the kernel's command line.
	KernelArgs []string
	// Args are added to QEMU's command line.
	Args []string
}

// consoleLevel keeps purely informative messages (level 6) off the console:
// each character costs an emulated machine 10 µs, and a boot prints thousands.
// The messages stay in the guest's dmesg.
const consoleLevel = "6"

// kernelArgs returns the kernel arguments for every boot. A panic must end the
// machine at once (-1); the verdict does not depend on how it ends. An emulated
// processor leaks nothing through speculation, but mitigations would cost time
// at each entry into the kernel.
func (m Machine) kernelArgs() string {
	args := []string{"console=" + m.Target.Console, "panic=-1", "loglevel=" + consoleLevel}
	args = append(args, m.Target.KernelArgs...)
	if m.Accel == TCG {
		// Go's runtime has a thread that sleeps 20 µs at a time. Under
		// emulation, two switches and a timer interrupt take longer
		// than that. Without high-resolution timers, such a sleep lasts
		// until the next tick.
		args = append(args, "mitigations=off", "highres=off", "nohz=off")
		args = append(args, m.Target.TCGKernelArgs...)
		if m.Target.TCGTicksArg != "" && m.TicksKHz != 0 {
			args = append(args, m.Target.TCGTicksArg+"="+strconv.Itoa(m.TicksKHz))
		}
	}
	return strings.Join(append(args, m.KernelArgs...), " ")
}

// cpu returns the value of -cpu.
func (m Machine) cpu() string {
	if m.Accel == KVM {
		return "host"
	}
	return m.Target.CPU
}

// firmware returns the arguments that select the firmware.
func (m Machine) firmware() []string {
	if m.Target.Firmware == "" {
		return nil
	}
	return []string{"-bios", m.Target.Firmware}
}

// options returns vmtest's options for the machine with its devices.
func (m Machine) options(devices ...vmtest.Fn) []vmtest.Fn {
	fns := []vmtest.Fn{
		func(_ *vmtest.IDAllocator, o *vmtest.Options) error {
			// vmtest splits its QEMUCommand at spaces and takes
			// defaults from VMTEST_ variables; our runs must depend
			// on neither. setpriv makes the kernel kill QEMU when
			// we die, whatever kills us.
			o.QEMUCommand = "setpriv"
			o.QEMUArgs = slices.Concat([]string{
				"--pdeathsig", "KILL", "--", m.Target.QEMU,
				"-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
				"-machine", m.Target.QEMUMachine,
				"-accel", string(m.Accel),
				"-cpu", m.cpu(),
				"-m", strconv.Itoa(m.MemoryMiB) + "M",
			}, m.firmware())
			o.Kernel = m.Kernel
			o.KernelArgs = m.kernelArgs()
			o.Initramfs = m.Initramfs
			o.VMTimeout = 0
			return nil
		},
	}
	fns = append(fns, devices...)
	return append(fns, vmtest.WithQEMUArgs(m.Args...))
}

// panicDevice lets the kernel notify QEMU of a panic, and QEMU then fails.
func (m Machine) panicDevice() vmtest.Fn {
	args := []string{"-action", "panic=exit-failure"}
	if m.Target.PanicDevice != "" {
		args = slices.Concat([]string{"-device", m.Target.PanicDevice}, args)
	}
	return vmtest.WithQEMUArgs(args...)
}

// optionValue returns a value for QEMU's option syntax, where a comma ends it.
func optionValue(text string) string { return strings.ReplaceAll(text, ",", ",,") }

// consoleDevice is the serial port, written to a file.
func consoleDevice(path string) vmtest.Fn {
	return vmtest.WithQEMUArgs("-chardev", "file,id=console,path="+optionValue(path), "-serial", "chardev:console")
}

// eventsDevice is the virtio-serial port that the guest reports on, written to
// a file.
func (m Machine) eventsDevice(path string) vmtest.Fn {
	return vmtest.WithQEMUArgs(
		"-device", "virtio-serial-"+string(m.Target.Transport),
		"-chardev", "file,id=events,path="+optionValue(path),
		"-device", "virtserialport,chardev=events,name="+wire.Port,
	)
}

// Drivers are the kernel modules that eventsDevice needs.
func Drivers(t target.Target) []string { return []string{t.Transport.Driver(), "virtio_console"} }

// logTo sends QEMU's own messages to a file. vmtest would keep all of them in
// memory. It would also pass our whole environment on.
func logTo(path string) vmtest.Fn {
	return func(_ *vmtest.IDAllocator, o *vmtest.Options) error {
		argv := []string{"-c", `exec "$@" >` + path + ` 2>&1`, o.QEMUCommand, "env"}
		for _, name := range run.Withheld() {
			argv = append(argv, "-u", name)
		}
		o.QEMUArgs = slices.Concat(argv, []string{o.QEMUCommand}, o.QEMUArgs)
		o.QEMUCommand = "/bin/sh"
		return nil
	}
}

// stdioDevice is a serial port on our own terminal, with QEMU's monitor on
// Ctrl-A c.
func stdioDevice() vmtest.Fn {
	return vmtest.WithQEMUArgs("-serial", "mon:stdio")
}

// ShellCommand returns the command line of the machine with its console on the
// terminal, for a person.
func (m Machine) ShellCommand() ([]string, error) {
	return m.command(m.panicDevice(), stdioDevice())
}

// Command returns a command line that boots the machine as Run does, with
// console and events in the given files. It is what to type to repeat a run by
// hand.
func (m Machine) Command(console, events string) ([]string, error) {
	return m.command(m.panicDevice(), consoleDevice(console), m.eventsDevice(events))
}

func (m Machine) command(devices ...vmtest.Fn) ([]string, error) {
	options, err := vmtest.OptionsFor(vmtest.Arch(m.Target.GOARCH), m.options(devices...)...)
	if err != nil {
		return nil, fmt.Errorf("assembling the QEMU command line: %w", err)
	}
	return options.Cmdline()
}

// installed checks that the programs the machine needs are installed.
func (m Machine) installed() error {
	for _, program := range []string{"setpriv", m.Target.QEMU} {
		if _, err := run.Look(program); err != nil {
			return err
		}
	}
	return nil
}
