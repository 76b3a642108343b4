// SPDX-License-Identifier: BSD-3-Clause

// Package malformed is a guest test binary that sends lines that are not
// events.
package malformed

import (
	"bytes"
	"testing"

	"github.com/kheaders/kheaders/initramfs/wire"
	"github.com/kheaders/kheaders/tests/faults/inside"
)

func TestMalformed(t *testing.T) {
	port := inside.Port(t)
	for _, line := range [][]byte{
		[]byte("hello"), nil, []byte(`{"kind":"end","test":"TestMalformed","status":"great"}`),
		bytes.Repeat([]byte{0}, wire.MaxLine), []byte(`{"kind":"done"}{"kind":"done"}`), []byte(`["done"]`),
	} {
		if _, err := port.Write(append(line, '\n')); err != nil {
			t.Fatal(err)
		}
	}
	inside.Say(t, port, wire.Event{Kind: wire.KindEnd, Test: "TestMalformed", Status: wire.StatusPass})
	inside.Say(t, port, wire.Event{Kind: wire.KindExit})
	inside.Say(t, port, wire.Event{Kind: wire.KindDone})
	inside.Reset(t)
}
