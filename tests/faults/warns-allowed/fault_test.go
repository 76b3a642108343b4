// SPDX-License-Identifier: BSD-3-Clause

// Package warnsallowed is a guest test binary that writes a warning to the kernel's log.
package warnsallowed

import (
	"os"
	"testing"

	"github.com/kheaders/kheaders/tests/faults/inside"
)

func TestWarns(t *testing.T) {
	plan := inside.Plan(t)
	inside.Settle()
	if err := os.WriteFile("/dev/kmsg", []byte("<4>WARNING: on purpose\n"), 0); err != nil {
		t.Fatal(err)
	}
	t.Attr("sha256", plan.Expect.SHA256)
}
