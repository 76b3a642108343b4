// SPDX-License-Identifier: BSD-3-Clause

package pipeline

import (
	"time"

	"github.com/kheaders/kheaders/harness/internal/qemu"
	"github.com/kheaders/kheaders/harness/internal/stage"
)

// DefaultLimits bound a boot under KVM.
var DefaultLimits = stage.Limits{Silence: 6 * time.Second, Test: 10 * time.Second, Deadline: 20 * time.Second}

// limits are those of a cell's boot: what was asked for, stretched by whatever
// makes this boot slower than one under KVM.
func (c *cell) limits(m made) stage.Limits {
	factor := 1.0
	if m.accel.Accel == qemu.TCG {
		factor = c.of.Target.Slowdown
	}
	if c.Thorough {
		factor *= 3 // decoding the whole archive is most of such a run
	}
	if m.kernel.Instrumented {
		factor *= 4 // KASAN, lockdep and their like; twice to four times was measured
	}
	return c.Limits.Scale(factor)
}

// guestLimits are the guest's own, a little shorter than the host's: it can say
// where it hangs. It knows no silence, so a test may not be silent longer either.
func guestLimits(l stage.Limits) stage.Limits {
	l.Test = min(l.Test, l.Silence)
	return l.Scale(0.8)
}
