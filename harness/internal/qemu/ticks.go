// SPDX-License-Identifier: BSD-3-Clause

package qemu

import (
	"math"
	"time"
)

// HostTicks measures the rate of the host's tick counter in kHz. Under TCG a
// guest's TSC is this counter (cpu_get_host_ticks in QEMU's timer.h), so it is
// the rate to tell a guest that cannot measure it. It takes 20 ms; the result
// is 0 on a host whose counter we do not know.
func HostTicks() int {
	t0, c0 := sample()
	time.Sleep(20 * time.Millisecond)
	t1, c1 := sample()
	return int(math.Round(float64(c1-c0) / t1.Sub(t0).Seconds() / 1000))
}

// sample reads clock and counter at the same time, or nearly so: of a few
// attempts it takes the one that was interrupted least.
func sample() (at time.Time, count uint64) {
	least := time.Duration(math.MaxInt64)
	for range 8 {
		before := time.Now()
		c := ticks()
		if took := time.Since(before); took < least {
			least, at, count = took, before.Add(took/2), c
		}
	}
	return at, count
}
