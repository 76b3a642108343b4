// SPDX-License-Identifier: BSD-3-Clause

// Package skips is a guest test binary with a test that skips itself.
package skips

import (
	"testing"
)

func TestPass(*testing.T) {}

func TestSkip(t *testing.T) { t.Skip("not today") }
