// SPDX-License-Identifier: BSD-3-Clause

// Package reportsunknown is a guest test binary that reports a test that it does not declare.
package reportsunknown

import (
	"fmt"
	"testing"
)

func TestKnown(*testing.T) {
	fmt.Print("\x16=== RUN   TestUnknown\n\x16--- PASS: TestUnknown (0.00s)\n\x16=== NAME  TestKnown\n")
}
