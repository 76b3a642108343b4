// SPDX-License-Identifier: BSD-3-Clause

package guest

import "testing"

// TestBuiltIn checks that the headers are there at boot, with no module loaded.
// It runs before all other tests.
func TestBuiltIn(t *testing.T) {
	begin(t)
	if expect.Module != "" {
		t.Skip("not-applicable: the headers are in a module")
	}
	if line := modulesLine(t); line != "" {
		t.Errorf("/proc/modules has %q", line)
	}
	if isLoaded(t) {
		t.Errorf("/sys/module/%s is that of a module", module)
	}
	if st := stat(t); st.Mode != mode || st.Size != expect.Size {
		t.Errorf("mode %#o, %d bytes, want %#o and %d", st.Mode, st.Size, mode, expect.Size)
	}
}
