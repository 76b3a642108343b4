// SPDX-License-Identifier: BSD-3-Clause

// Package outofmemory is a guest test binary that uses up all memory.
package outofmemory

import (
	"testing"

	"github.com/kheaders/kheaders/tests/faults/inside"
)

func TestMemory(t *testing.T) {
	inside.Plan(t)
	inside.Settle()
	var all [][]byte
	for {
		piece := make([]byte, 1<<20)
		for i := 0; i < len(piece); i += 4096 {
			piece[i] = 1
		}
		all = append(all, piece)
		_ = all
	}
}
