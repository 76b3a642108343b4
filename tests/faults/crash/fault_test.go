// SPDX-License-Identifier: BSD-3-Clause

// Package crash is a guest test binary that crashes.
package crash

import (
	"testing"
)

func TestCrash(*testing.T) {
	var p *int
	*p = 1
}
