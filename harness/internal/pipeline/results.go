// SPDX-License-Identifier: BSD-3-Clause

package pipeline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/report"
)

// ignoreAll has git ignore a directory, as kbuild does with one for objects. Results
// that are written into a kernel tree are then no part of it for us either.
const ignoreAll = "*\n"

// claim makes a results directory this run's own until the lock is released. It
// removes an earlier run's reports, so that nobody mistakes them for ours.
func claim(dir string) (*cache.Lock, error) {
	const advice = "choose another directory with --results DIR"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, hint.Usage(fmt.Errorf("making the results directory: %w", err), advice)
	}
	lock, err := cache.TryLock(filepath.Join(dir, ".lock"))
	if errors.Is(err, cache.ErrLocked) {
		return nil, hint.Usage(fmt.Errorf("another run is writing to %s", dir), advice)
	}
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("claiming the results directory: %w", err), advice)
	}
	for _, name := range report.Files() {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, name)))
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(ignoreAll), 0o644)
	}
	if err != nil {
		lock.Release()
		return nil, fmt.Errorf("clearing the results directory: %w", err)
	}
	return lock, nil
}
