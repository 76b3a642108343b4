// SPDX-License-Identifier: BSD-3-Clause

// Package hint attaches to an error what the user can do about it, and whether
// the user made the mistake.
package hint

import "errors"

// Error is an error with advice. Its text is the cause's text, without the
// advice.
type Error struct {
	// Err is the cause.
	Err error
	// Hint is what to do about it, in one line.
	Hint string
	// Usage says that the input was wrong, not the machine.
	Usage bool
}

// Error returns the cause's text.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New attaches advice to a failure of the machine or of a tool.
func New(err error, hint string) error { return &Error{Err: err, Hint: hint} }

// Usage attaches advice to a mistake in the input.
func Usage(err error, hint string) error { return &Error{Err: err, Hint: hint, Usage: true} }

// Of returns the outermost advice on err, or an empty string.
func Of(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Hint
	}
	return ""
}

// IsUsage reports whether err is a mistake in the input.
func IsUsage(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Usage
}

// buildFailed marks an error as the fault of whatever is under test.
type buildFailed struct{ err error }

func (e *buildFailed) Error() string { return e.err.Error() }
func (e *buildFailed) Unwrap() error { return e.err }

// BuildFailed marks an error as the fault of whatever is under test: it did not
// build, or came out wrong, but the harness did its work.
func BuildFailed(err error) error { return &buildFailed{err} }

// IsBuildFailed reports whether err was marked by [BuildFailed].
func IsBuildFailed(err error) bool {
	_, ok := errors.AsType[*buildFailed](err)
	return ok
}
