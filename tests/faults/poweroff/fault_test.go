// SPDX-License-Identifier: BSD-3-Clause

// Package poweroff is a guest test binary that powers the machine off halfway
// through.
package poweroff

import (
	"syscall"
	"testing"

	"github.com/kheaders/kheaders/tests/faults/inside"
)

func TestPowerOff(t *testing.T) {
	inside.Plan(t)
	inside.Settle()
	if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		t.Fatal(err)
	}
	inside.Forever()
}
