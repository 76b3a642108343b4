// SPDX-License-Identifier: BSD-3-Clause

// Package agentcrash is a guest test binary that kills the agent.
package agentcrash

import (
	"os"
	"syscall"
	"testing"

	"github.com/kheaders/kheaders/tests/faults/inside"
)

func TestCrash(t *testing.T) {
	inside.Plan(t)
	inside.Settle()
	if err := syscall.Kill(os.Getppid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	inside.Forever()
}
