// SPDX-License-Identifier: BSD-3-Clause

package archive

import (
	"errors"
	"fmt"
)

// LimitError says that an archive is larger than the reader allows.
type LimitError struct {
	// What is what was counted.
	What string
	// Limit is the maximum.
	Limit int64
}

// Error names the limit.
func (e *LimitError) Error() string {
	return fmt.Sprintf("the archive has more than %d %s", e.Limit, e.What)
}

// ErrFormat is wrapped by every error about an archive that is damaged, or not
// an archive at all.
var ErrFormat = errors.New("not a valid headers archive")

func badFormat(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrFormat}, args...)...)
}
