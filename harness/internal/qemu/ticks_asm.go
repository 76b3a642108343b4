// SPDX-License-Identifier: BSD-3-Clause

//go:build amd64 || arm64

package qemu

// counts says that there is a counter to read.
const counts = true

// ticks reads the counter that QEMU uses for the host's ticks.
func ticks() uint64
