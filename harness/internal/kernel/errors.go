// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
)

// firstLine adds the first line of a failed program's output to its error. For
// tar, apt and dpkg-deb that line says what is wrong.
func firstLine(err error) error {
	if e, ok := errors.AsType[*run.Error](err); ok && len(e.Tail) > 0 {
		return &detailError{detail: strings.TrimSpace(e.Tail[0]), err: err}
	}
	return err
}

// detailError is an error with a detail that the program itself reported.
type detailError struct {
	detail string
	err    error
}

func (e *detailError) Error() string { return fmt.Sprintf("%v: %s", e.err, e.detail) }

func (e *detailError) Unwrap() error { return e.err }

// diskFull adds to err how much room is needed, if err is about a full disk.
func diskFull(err error, dir string) error {
	if !run.DiskFull(err) {
		return err
	}
	return hint.New(fmt.Errorf("no space left on the device that holds %s: %w", dir, err),
		"a source tree takes 1.7 GB and a built test kernel 0.2 GB: free some, or move the cache to another device")
}
