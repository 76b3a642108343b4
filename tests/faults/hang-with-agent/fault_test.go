// SPDX-License-Identifier: BSD-3-Clause

// Package hangwithagent is a guest test binary that stops the agent and never
// ends, but keeps printing.
package hangwithagent

import (
	"os"
	"testing"
	"time"

	"github.com/kheaders/kheaders/tests/faults/inside"
)

func TestHang(t *testing.T) {
	inside.Port(t)
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := console.WriteString("still here\n"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
