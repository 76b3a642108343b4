// SPDX-License-Identifier: BSD-3-Clause

// Package clockinguest is a guest test binary that sets the clock while it runs.
package clockinguest

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/tests/faults/inside"
)

func TestClock(t *testing.T) {
	plan := inside.Plan(t)
	// The kernel refuses times before the boot.
	for _, seconds := range []int64{2e9, 1000, 1.9e9, 1e9} {
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &unix.Timespec{Sec: seconds}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if got := time.Now().Unix(); got < seconds || got > seconds+10 {
			t.Errorf("the clock says %d, want %d", got, seconds)
		}
	}
	t.Attr("sha256", plan.Expect.SHA256)
}
