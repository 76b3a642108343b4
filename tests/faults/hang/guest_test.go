// SPDX-License-Identifier: BSD-3-Clause

// Package hang is a guest test binary that never ends and says nothing.
package hang

import "testing"

func TestHang(*testing.T) { select {} }
