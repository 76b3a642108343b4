// SPDX-License-Identifier: BSD-3-Clause

// Package silentafterdone is a guest test binary that sends "done" in place of
// the agent and does not end.
package silentafterdone

import (
	"testing"

	"github.com/kheaders/kheaders/initramfs/wire"
	"github.com/kheaders/kheaders/tests/faults/inside"
)

func TestDone(t *testing.T) {
	plan, port := inside.Plan(t), inside.Port(t)
	inside.Say(t, port, wire.Event{Kind: wire.KindAttr, Test: "TestDone", Key: "sha256", Value: plan.Expect.SHA256})
	inside.Say(t, port, wire.Event{Kind: wire.KindEnd, Test: "TestDone", Status: wire.StatusPass})
	inside.Say(t, port, wire.Event{Kind: wire.KindExit})
	inside.Say(t, port, wire.Event{Kind: wire.KindDone})
	inside.Forever()
}
