// SPDX-License-Identifier: BSD-3-Clause

package hint

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

func TestHint(t *testing.T) {
	cause := fmt.Errorf("reading: %w", fs.ErrNotExist)
	machine := New(cause, "install it")
	mistake := Usage(cause, "name another")
	tests := []struct {
		name  string
		err   error
		hint  string
		usage bool
	}{
		{"nil", nil, "", false},
		{"without advice", cause, "", false},
		{"machine", machine, "install it", false},
		{"usage", mistake, "name another", true},
		{"wrapped", fmt.Errorf("doing: %w", mistake), "name another", true},
		{"joined", errors.Join(errors.New("closing"), machine), "install it", false},
		// The caller knows better than the callee what the user meant.
		{"usage outside", Usage(machine, "look again"), "look again", true},
		{"machine outside", New(mistake, "wait"), "wait", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Of(tt.err); got != tt.hint {
				t.Errorf("the hint is %q, want %q", got, tt.hint)
			}
			if got := IsUsage(tt.err); got != tt.usage {
				t.Errorf("usage is %v, want %v", got, tt.usage)
			}
		})
	}
	for _, err := range []error{machine, mistake} {
		if err.Error() != cause.Error() {
			t.Errorf("the text is %q, want the cause's", err)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the cause of %v is lost", err)
		}
	}
}
