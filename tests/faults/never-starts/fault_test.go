// SPDX-License-Identifier: BSD-3-Clause

// Package neverstarts is a guest test binary that stops the agent and prints
// forever before its first test.
package neverstarts

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/kheaders/kheaders/initramfs/wire"
)

func TestMain(*testing.M) {
	if _, err := os.Stat(wire.PlanPath); err != nil {
		panic("this runs inside the guest only")
	}
	if err := syscall.Kill(os.Getppid(), syscall.SIGSTOP); err != nil {
		panic(err)
	}
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		panic(err)
	}
	for {
		if _, err := console.WriteString("still here\n"); err != nil {
			panic(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestNever(*testing.T) {}
