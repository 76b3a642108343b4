// SPDX-License-Identifier: BSD-3-Clause

package pipeline

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/kheaders/kheaders/harness/internal/doctor"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

// Place is where a command writes.
type Place struct {
	// Path is a directory or a file.
	Path string
	// Change is how to choose another one.
	Change string
}

// CachePlace is the cache directory as a place.
func CachePlace(dir string) Place {
	return Place{dir, "put the cache elsewhere with --cache DIR or XDG_CACHE_HOME"}
}

// places are where a run writes.
func (c Config) places() []Place {
	return []Place{
		CachePlace(c.Cache),
		{c.Results, "put the results elsewhere with --results DIR"},
		{os.TempDir(), "put temporary files elsewhere with TMPDIR"},
	}
}

// concerned returns the place that an error, or the output of the program that
// failed, names, or else the first of all places.
func concerned(err error, places []Place) Place {
	text := err.Error()
	if program, ok := errors.AsType[*run.Error](err); ok {
		text = strings.Join(append([]string{text}, program.Tail...), "\n")
	}
	found, longest := Place{Change: "write elsewhere"}, 0
	if len(places) > 0 {
		found = places[0]
	}
	for _, p := range places {
		if len(p.Path) > longest && strings.Contains(text, p.Path) {
			found, longest = p, len(p.Path)
		}
	}
	return found
}

// Advise adds to an error what the user can do about it. The first place is where
// most is written.
func Advise(err error, t target.Target, places ...Place) error {
	if run.DiskFull(err) {
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
			err = fmt.Errorf("%w: %w", err, syscall.ENOSPC) // known only from a program's output
		}
		return hint.New(err, "free some space, or "+concerned(err, places).Change)
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
		return hint.New(err, "check the permissions there, or "+concerned(err, places).Change)
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
