// SPDX-License-Identifier: BSD-3-Clause

package qemu

import (
	"math"
	"time"
)

// HostTicks measures the rate of the host's tick counter in kHz. Under TCG a
// guest's TSC is this counter (cpu_get_host_ticks in QEMU's timer.h), so a
// guest that cannot measure the rate can be given this one. The measurement
// takes 20 ms. The result is 0 on a host with a counter we do not know.
func HostTicks() int {
	t0, c0 := sample()
	time.Sleep(20 * time.Millisecond)
	t1, c1 := sample()
	return int(math.Round(float64(c1-c0) / t1.Sub(t0).Seconds() / 1000))
}

// sample reads clock and counter at nearly the same time: of a few attempts it
// takes the one with the least interruption.
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
