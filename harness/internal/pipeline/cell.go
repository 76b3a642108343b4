// SPDX-License-Identifier: BSD-3-Clause

package pipeline

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kheaders/kheaders/harness/internal/qemu"
	"github.com/kheaders/kheaders/harness/internal/stage"
	"github.com/kheaders/kheaders/harness/report"
	"github.com/kheaders/kheaders/harness/verdict"
)

// cell is a cell of the matrix, with its directory.
type cell struct {
	*runner
	of Cell
	// dir is where the cell's files go, below the results directory.
	dir string

	mu    sync.Mutex // guards times: some stages run side by side
	times []report.Stage
}

// open makes an empty directory for the cell.
func (r *runner) open(of Cell) (*cell, error) {
	c := &cell{runner: r, of: of, dir: filepath.Join(r.Results, of.Name())}
	if err := os.RemoveAll(c.dir); err != nil {
		return c, fmt.Errorf("clearing the results: %w", err)
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return c, fmt.Errorf("making the results directory: %w", err)
	}
	return c, nil
}

func (c *cell) path(name string) string { return filepath.Join(c.dir, name) }

// say reports a line about a stage of the cell.
func (c *cell) say(subject, format string, args ...any) {
	c.runner.say(c.of.Target.Name, "%-8s %s", subject, fmt.Sprintf(format, args...))
}

// timed notes how long a stage took.
func (c *cell) timed(name string, start time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times = append(c.times, report.Stage{Name: name, Seconds: time.Since(start).Seconds()})
}

// made is what the stages of a cell have returned so far.
type made struct {
	kernel   stage.Built
	archive  stage.File
	program  stage.File
	carrier  stage.Carrier
	programs stage.Programs
	accel    qemu.Choice
	ticksKHz int // the rate of the host's tick counter
	image    stage.File
	booted   stage.Booted
	result   verdict.Result
}
