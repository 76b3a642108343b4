// SPDX-License-Identifier: BSD-3-Clause

// Package reboot is a guest test binary that reboots the machine halfway
// through.
package reboot

import (
	"testing"

	"github.com/kheaders/kheaders/tests/faults/inside"
)

func TestBefore(*testing.T) {}

func TestReboot(t *testing.T) {
	inside.Plan(t)
	inside.Settle()
	inside.Reset(t)
}

func TestAfter(*testing.T) {}
