// SPDX-License-Identifier: BSD-3-Clause

// Package pipeline takes the cells of a matrix through the stages, from a
// kernel's source to a verdict. stages.go has their order, inputs.go
// what goes into each, and report.go what comes out in the end.
package pipeline

import (
	"context"
	"fmt"
	"sync"

	"github.com/kheaders/kheaders/harness/internal/doctor"
	"github.com/kheaders/kheaders/harness/report"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
)

// Run runs all cells and writes their reports into the results directory. It
// returns an error only for a mistake in the configuration or a failure to
// write the reports; everything else is a verdict.
func Run(ctx context.Context, c Config) (report.Run, error) {
	r, err := newRunner(c)
	if err != nil {
		return report.Run{}, err
	}
	lock, err := claim(r.Results)
	if err != nil {
		return report.Run{}, err
	}
	defer lock.Release()
	if r.Install {
		progress := func(line string) { r.say("install", "%s", line) }
		// An interruption is a verdict, which the cells come to as well.
		if err := doctor.Install(ctx, r.Missing(ctx, r.Cells...), progress); err != nil && ctx.Err() == nil {
			return report.Run{}, err
		}
	}
	r.say("guest", "its programs are compiled from %s", r.Repo)
	result := report.New(r.Command)
	from, err := r.fetch(ctx)
	if err != nil {
		return report.Run{}, err
	}
	defer from.release()
	result.Cells = make([]report.Cell, len(r.Cells))
	var group sync.WaitGroup
	for i, c := range r.Cells {
		group.Go(func() { result.Cells[i] = r.test(ctx, c, from[c.Spec]) })
	}
	group.Wait()
	result.UnusedAllowances = r.unused(result.Cells)
	result.Finish()
	if err := report.Write(r.Results, result); err != nil {
		return result, Advise(fmt.Errorf("writing the reports: %w", err), target.Target{}, r.places()...)
	}
	return result, nil
}

// unused lists the entries of the allowlist that no cell needed.
func (r *runner) unused(cells []report.Cell) []string {
	var found []verdict.Finding
	for _, c := range cells {
		found = append(found, c.Findings...)
	}
	var list []string
	for _, entry := range r.Allow.Unused(found) {
		list = append(list, entry.String())
		r.say("allow", "unused: %s", entry)
	}
	return list
}
