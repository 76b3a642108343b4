// SPDX-License-Identifier: BSD-3-Clause

package run

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
)

func TestDiskFull(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("no space left on device"), false},
		{fmt.Errorf("writing: %w", &os.PathError{Op: "write", Err: syscall.ENOSPC}), true},
		{syscall.EDQUOT, true},
		{&Error{Tail: []string{"gcc: a.s: No space left on device", "make: Error 1"}}, true},
		{fmt.Errorf("building: %w", &Error{Tail: []string{"write a.o: disk quota exceeded"}}), true},
		{&Error{Tail: []string{"no space"}, Err: syscall.EPIPE}, false},
		{&Error{Err: syscall.ENOSPC}, true},
	} {
		if got := DiskFull(tt.err); got != tt.want {
			t.Errorf("DiskFull(%v) is %v", tt.err, got)
		}
	}
}
