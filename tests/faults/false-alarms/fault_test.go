// SPDX-License-Identifier: BSD-3-Clause

// Package falsealarms is a guest test binary that prints what looks like trouble,
// and is none.
package falsealarms

import (
	"os"
	"testing"

	"github.com/kheaders/kheaders/tests/faults/inside"
)

// lines go to the place that they are listed under. The kernel drops more than a
// few of a program's messages.
var lines = map[string][]string{
	"/dev/kmsg": {
		"<3>RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable to RETBleed attacks, data leaks possible!",
		"<4>MDS CPU bug present and SMT on, data leak possible.",
		"<4>ACPI BIOS Warning (bug): 32/64X length mismatch in FADT/Gpe0Block: 128/32",
		"<5>Kernel command line: note=BUG: KASAN: x, WARNING: CPU: 0 PID: 1 at a.c:1",
	},
	"/dev/console": {
		"WARNING: foo",
		"BUG: bar",
		"a_test.go:1: there is no Call Trace: in it",
	},
}

func TestPrints(t *testing.T) {
	plan := inside.Plan(t)
	inside.Settle()
	for path, list := range lines {
		for _, line := range list {
			if err := os.WriteFile(path, []byte(line+"\n"), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Attr("sha256", plan.Expect.SHA256)
}
