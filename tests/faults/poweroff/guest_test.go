// SPDX-License-Identifier: BSD-3-Clause

// Package poweroff is a guest test binary that ends the machine half way.
package poweroff

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/kheaders/kheaders/initramfs/wire"
)

// guest keeps these tests from ending the machine of whoever runs them with
// go test: only the guest has a plan.
func guest(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(wire.PlanPath); err != nil {
		t.Fatal("this runs inside the guest only: ", err)
	}
}

func TestBefore(*testing.T) {}

func TestPowerOff(t *testing.T) {
	guest(t)
	time.Sleep(100 * time.Millisecond) // what was said before should arrive
	if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART); err != nil {
		t.Fatal(err)
	}
	select {}
}

func TestAfter(*testing.T) {}
