// SPDX-License-Identifier: BSD-3-Clause

// Package guest holds the tests that run inside the guest, as root, on the
// kernel under test. They use /proc/kheaders.tar.xz as its users do, and load
// and unload the module that provides it.
//
// The tests run in the order in which they stand in the files, and these by name:
// guest_test.go begins without the module and goes on with it, insmod_test.go ends
// with its unloading, and what tail_test.go has comes last. Each brings about the
// state that it needs, so that one failure does not make the next. What they
// compare with comes from the plan that the host put into the initramfs.
package guest
