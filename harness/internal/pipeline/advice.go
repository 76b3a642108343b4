// SPDX-License-Identifier: BSD-3-Clause

package pipeline

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/kheaders/kheaders/harness/internal/doctor"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

// Advise adds to an error what the user can do about it.
func Advise(err error, t target.Target) error {
	if run.DiskFull(err) {
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
			err = fmt.Errorf("%w: %w", err, syscall.ENOSPC) // known only from a program's output
		}
		return hint.New(err, "free some space, or put the cache elsewhere with --cache DIR or XDG_CACHE_HOME")
	}
	if hint.Of(err) != "" {
		return err
	}
	if missing, ok := errors.AsType[*run.NotFoundError](err); ok {
		if tool, ok := doctor.Lookup(missing.Program, t); ok {
			return hint.New(err, doctor.Hint([]doctor.Tool{tool}))
		}
	}
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR) {
		return hint.New(err, "choose a directory that you may write to with --results DIR or --cache DIR")
	}
	return err
}

// failedBuild reports whether what was to be tested failed to build, as opposed
// to the harness failing.
func failedBuild(err error) bool {
	if run.DiskFull(err) {
		return false
	}
	if _, ok := errors.AsType[*kernel.BuildError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*kernel.ConfigError](err); ok {
		return true
	}
	return hint.IsBuildFailed(err)
}
