// SPDX-License-Identifier: BSD-3-Clause

// Package halt is a guest test binary that halts the machine halfway through.
package halt

import (
	"syscall"
	"testing"

	"github.com/kheaders/kheaders/tests/faults/inside"
)

func TestHalt(t *testing.T) {
	inside.Plan(t)
	inside.Settle()
	if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_HALT); err != nil {
		t.Fatal(err)
	}
	inside.Forever()
}
