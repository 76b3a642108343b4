// SPDX-License-Identifier: BSD-3-Clause

// Package replay has the two programs that a run of kheaders spends its time
// in, as fakes that take milliseconds: the Go command, which compiles the
// guest's programs, and QEMU, which boots them. Scripts say what is to go
// wrong; everything else goes as it would.
//
// The fake QEMU is a small guest as well: it looks into what is booted, so it
// passes only a boot that has in it what its plan says.
package replay

import (
	"os"
)

// Programs returns the fakes by the names that they are called by. Each ends
// the process.
func Programs(emulators ...string) map[string]func() {
	programs := map[string]func(){
		"go":       func() { exit(compile(os.Args[1:])) },
		"mkuimage": func() { exit(pack(os.Args[1:])) },
	}
	for _, name := range emulators {
		programs[name] = func() { emulate(os.Args) }
	}
	return programs
}
