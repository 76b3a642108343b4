// SPDX-License-Identifier: BSD-3-Clause

// Package nodigest is a guest test binary that tests nothing.
package nodigest

import (
	"testing"
)

func TestNothing(*testing.T) {}
