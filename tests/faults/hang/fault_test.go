// SPDX-License-Identifier: BSD-3-Clause

// Package hang is a guest test binary that never ends and prints nothing.
package hang

import (
	"testing"
	"time"
)

func TestHang(*testing.T) { time.Sleep(24 * time.Hour) }
