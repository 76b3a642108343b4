// SPDX-License-Identifier: BSD-3-Clause

// Package replay fakes the two programs that a run of kheaders spends its time
// in: the Go command, which compiles the guest's programs, and QEMU, which boots
// them. The fakes take milliseconds. Scripts say what goes wrong; everything else
// works as usual.
//
// The fake QEMU is also a small guest: it looks into what was booted, so a boot
// passes only if it contains what its plan says.
package replay

import (
	"os"
)

// Programs returns the fakes by program name. Each one ends the process.
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
