// SPDX-License-Identifier: BSD-3-Clause

//go:build kvm

package qemu

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kheaders/kheaders/harness/target"
)

var (
	archFlag      = flag.String("arch", "", "the `ARCH`itecture to boot, which has to be this machine's")
	kernelFlag    = flag.String("kernel", "", "the kernel's `FILE`")
	initramfsFlag = flag.String("initramfs", "", "the initramfs's `FILE`")
	resultsFlag   = flag.String("results", "", "the `DIR` for what the guest says")
)

// TestKVM is for a machine with a working KVM: tests/kvm starts it there, and
// judges what it leaves in the results. The prober must find KVM, and the guest
// must end by itself.
func TestKVM(t *testing.T) {
	const slow = 10 * time.Minute // the machine is itself emulated
	arch, err := target.Lookup(*archFlag)
	if err != nil {
		t.Fatal(err)
	}
	prober := Prober{Dir: *resultsFlag, Device: "/dev/kvm", Patience: slow}
	for range 2 { // then from memory
		start := time.Now()
		choice, err := prober.Choose(t.Context(), arch, "auto", *kernelFlag)
		if err != nil || choice.Accel != KVM {
			t.Fatalf("Choose = %+v, %v; want KVM", choice, err)
		}
		t.Logf("%s: %s, found in %v", choice.Accel, choice.Why, time.Since(start).Round(time.Millisecond))
	}
	open := func(name string) *os.File {
		f, err := os.Create(filepath.Join(*resultsFlag, name))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	exit, err := Machine{Target: arch, Accel: KVM, Kernel: *kernelFlag, Initramfs: *initramfsFlag, MemoryMiB: 256}.Run(t.Context(), Watch{
		Console: open("console.log"), Events: open("events.jsonl"), Log: open("qemu.log"),
		Silence: slow, Deadline: slow,
	})
	if err != nil || exit.Killed != nil || exit.Code != 0 {
		t.Fatalf("the machine ended with %+v, %v", exit, err)
	}
	t.Logf("%.1f s from boot to end", exit.Seconds)
}
