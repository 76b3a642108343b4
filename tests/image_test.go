// SPDX-License-Identifier: BSD-3-Clause

package tests

import "testing"

// TestDebianImage61 boots the kernel that Debian has built, with a module that
// was built against Debian's headers.
func TestDebianImage61(t *testing.T) { verify(t, "debian-image:6.1", "6.1.") }
