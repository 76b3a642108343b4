// SPDX-License-Identifier: BSD-3-Clause

// Command init ends the machine at once: what it takes to boot it is the floor
// for any guest.
package main

import "syscall"

func main() {
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART)
	select {} // init must not return, it would panic the kernel
}
