// SPDX-License-Identifier: BSD-3-Clause

// Package guest has the tests that run inside the guest, as root, on the kernel
// under test. They use /proc/kheaders.tar.xz like any user, and load and unload
// the module that provides it.
//
// The tests run file by file in alphabetical order, and in source order within a
// file: guest_test.go starts without the module and then loads it, insmod_test.go
// ends by unloading it, and tail_test.go comes last. Each test sets up the state
// that it needs, so that one failure does not cause the next. The expected values
// come from the plan that the host put into the initramfs.
package guest
