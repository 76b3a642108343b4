// SPDX-License-Identifier: BSD-3-Clause

// Package inside is what the faulty guests share: the plan, and ways to talk to
// the host in place of the agent.
package inside

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/initramfs/wire"
)

// Plan returns the guest's plan. Only the guest has one, so nobody's machine is
// harmed if they run a fault with go test.
func Plan(t *testing.T) wire.Plan {
	t.Helper()
	var plan wire.Plan
	text, err := os.ReadFile(wire.PlanPath)
	if err != nil {
		t.Fatal("this runs inside the guest only: ", err)
	}
	if err := json.Unmarshal(text, &plan); err != nil {
		t.Fatal(err)
	}
	return plan
}

// Settle waits until everything said so far has reached the host: the agent
// collects output before it sends it.
func Settle() { time.Sleep(300 * time.Millisecond) }

// Reset ends the machine at once.
func Reset(t *testing.T) {
	t.Helper()
	if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART); err != nil {
		t.Fatal(err)
	}
	Forever()
}

// Forever never returns. An empty select would: Go's runtime would report a
// deadlock.
func Forever() { time.Sleep(24 * time.Hour) }

// Port stops the agent, our parent, in the middle of whatever it does, and
// returns the agent's port to the host. What is written there comes after what
// the agent has sent.
func Port(t *testing.T) *os.File {
	t.Helper()
	Plan(t)
	Settle()
	if err := syscall.Kill(os.Getppid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// A port can be opened only once, but its descriptor can be copied.
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", os.Getppid()))
	if err != nil {
		t.Fatal(err)
	}
	agent, err := unix.PidfdOpen(os.Getppid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		to, err := os.Readlink(name)
		if err != nil || !strings.HasPrefix(to, "/dev/vport") {
			continue
		}
		theirs, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			t.Fatal(err)
		}
		ours, err := unix.PidfdGetfd(agent, theirs, 0)
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(ours), to)
	}
	t.Fatal("the agent has no port")
	return nil
}

// Say sends an event to the host in place of the agent.
func Say(t *testing.T, port *os.File, e wire.Event) {
	t.Helper()
	if err := json.NewEncoder(port).Encode(e); err != nil {
		t.Fatal(err)
	}
}
