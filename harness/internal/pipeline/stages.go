// SPDX-License-Identifier: BSD-3-Clause

package pipeline

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/kheaders/kheaders/harness/internal/doctor"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/qemu"
	"github.com/kheaders/kheaders/harness/report"
)

// test takes one cell from its kernel's source to a verdict. The report it
// returns has a verdict whatever happens.
func (r *runner) test(ctx context.Context, of Cell, from fetched) report.Cell {
	c, err := r.open(of)
	if err == nil {
		err = from.err
	}
	if err == nil {
		err = doctor.Error(r.Missing(ctx, of))
	}
	var m made
	if err == nil {
		m, err = c.prepare(ctx, from.source)
	}
	if err == nil {
		err = c.verify(ctx, &m)
	}
	out := c.report(ctx, m, err)
	c.say("verdict", "%s", out.Summary())
	return out
}

// prepare makes everything that goes into a boot. The guest's programs do not
// depend on the kernel, so they are compiled while it builds.
func (c *cell) prepare(ctx context.Context, source kernel.Source) (m made, err error) {
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		m.programs, err = c.guest(groupCtx)
		return err
	})
	group.Go(func() error {
		m.ticksKHz = qemu.HostTicks()
		return nil
	})
	group.Go(func() error { return c.carryHeaders(groupCtx, source, &m) })
	err = group.Wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return m, err
}

// carryHeaders turns a kernel's source into the carrier of its headers.
func (c *cell) carryHeaders(ctx context.Context, source kernel.Source, m *made) error {
	patched, err := c.patch(ctx, source)
	if err != nil {
		return err
	}
	if m.kernel, err = c.build(ctx, patched); err != nil {
		return err
	}
	if m.archive, err = c.pack(ctx, m.kernel.Kernel); err != nil {
		return err
	}
	if m.program, err = c.compile(ctx, m.kernel.Kernel, m.archive); err != nil {
		return err
	}
	if m.carrier, err = c.carry(ctx, m.kernel.Kernel, m.archive); err != nil {
		return err
	}
	m.accel, err = c.choose(ctx, m.kernel.Image)
	return err
}

// verify boots what was prepared and judges it.
func (c *cell) verify(ctx context.Context, m *made) (err error) {
	if m.image, err = c.image(*m, false); err != nil {
		return err
	}
	if m.booted, err = c.boot(ctx, *m); err != nil {
		return err
	}
	m.result = c.judge(*m)
	return nil
}
