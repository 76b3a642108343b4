// SPDX-License-Identifier: BSD-3-Clause

package pipeline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/report"
)

// claim makes a results directory this run's own, until release is called. What
// an earlier run reported is removed, so that it cannot be taken for ours.
func claim(dir string) (release func(), err error) {
	const advice = "choose another directory with --results DIR"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, hint.Usage(fmt.Errorf("making the results directory: %w", err), advice)
	}
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("claiming the results directory: %w", err), advice)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, hint.Usage(fmt.Errorf("another run is writing to %s", dir), advice)
	}
	for _, name := range report.Files() {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return nil, errors.Join(fmt.Errorf("clearing the results directory: %w", err), f.Close())
		}
	}
	return func() { _ = f.Close() }, nil
}
