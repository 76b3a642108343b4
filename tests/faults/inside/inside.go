// SPDX-License-Identifier: BSD-3-Clause

// Package inside is what the faulty guests share: the plan, and ways to speak to
// the host in the agent's stead.
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

// Plan returns the guest's plan. It keeps a fault from harming the machine of
// whoever runs it with go test: only the guest has a plan.
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

// Settle waits until what was said so far has been sent to the host: the agent
// gathers it.
func Settle() { time.Sleep(300 * time.Millisecond) }

// Reset ends the machine at once.
func Reset(t *testing.T) {
	t.Helper()
	if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART); err != nil {
		t.Fatal(err)
	}
	Forever()
}

// Forever does not end. An empty select would: Go's runtime takes it for a
// deadlock.
func Forever() { time.Sleep(24 * time.Hour) }

// Port stops the agent, which is our parent, in the middle of what it does, and
// returns its port to the host: what is written there comes after what the agent
// has sent.
func Port(t *testing.T) *os.File {
	t.Helper()
	Plan(t)
	Settle()
	if err := syscall.Kill(os.Getppid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// A port can be open only once, but a descriptor of it can be copied.
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

// Say sends an event to the host in the agent's stead.
func Say(t *testing.T, port *os.File, e wire.Event) {
	t.Helper()
	if err := json.NewEncoder(port).Encode(e); err != nil {
		t.Fatal(err)
	}
}
