// SPDX-License-Identifier: BSD-3-Clause

package pipeline

import (
	"github.com/kheaders/kheaders/harness/internal/qemu"
	"github.com/kheaders/kheaders/harness/internal/stage"
)

// limits returns the limits of a cell's boot: those asked for, stretched by
// whatever makes this boot slower than one under KVM.
func (c *cell) limits(m made) stage.Limits {
	factor := 1.0
	if m.accel.Accel == qemu.TCG {
		factor = c.of.Target.Slowdown
	}
	if c.Thorough {
		factor *= 3 // decoding the whole archive is most of the run
	}
	if m.kernel.Instrumented {
		factor *= 4 // KASAN, lockdep and the like: measured at two to four times
	}
	return c.Limits.Scale(factor)
}

// guestLimits returns the guest's own limits, a little shorter than the host's,
// so that the guest can say where it hangs. The guest has no limit on silence,
// so a test may take no longer than the host's.
func guestLimits(l stage.Limits) stage.Limits {
	l.Test = min(l.Test, l.Silence)
	return l.Scale(0.8)
}
