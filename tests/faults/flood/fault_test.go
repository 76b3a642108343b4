// SPDX-License-Identifier: BSD-3-Clause

// Package flood is a guest test binary that never stops sending events.
package flood

import (
	"encoding/json"
	"testing"

	"github.com/kheaders/kheaders/initramfs/wire"
	"github.com/kheaders/kheaders/tests/faults/inside"
)

func TestFlood(t *testing.T) {
	port := inside.Port(t)
	line, err := json.Marshal(wire.Event{Kind: wire.KindOutput, Test: "TestFlood", Output: "more and more and more\n"})
	if err != nil {
		t.Fatal(err)
	}
	var lines []byte
	for len(lines) < 1<<20 {
		lines = append(append(lines, line...), '\n')
	}
	for {
		if _, err := port.Write(lines); err != nil {
			t.Fatal(err)
		}
	}
}
