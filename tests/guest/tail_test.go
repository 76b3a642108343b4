// SPDX-License-Identifier: BSD-3-Clause

package guest

import (
	"testing"

	"github.com/kheaders/kheaders/tests/guest/kmsg"
)

// TestKernelLog checks that the kernel did not complain, neither before the tests
// nor because of them.
func TestKernelLog(t *testing.T) {
	begin(t)
	all, err := kmsg.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = all.Close() }()
	notices := map[string]int{}
	for _, r := range logSince(t, all) {
		if r.Trouble() {
			t.Errorf("the kernel said %q", r)
		}
		if r.TaintNotice(module) {
			notices[r.Text]++
		}
	}
	for text, n := range notices {
		if n > 1 {
			t.Errorf("the kernel said %q %d times, want once", text, n)
		}
	}
	const enough = 20 // of a stack trace, say
	for i, r := range uncalled(t, wholeLog) {
		if i == enough {
			t.Error("and more, see the console")
			break
		}
		t.Errorf("during the tests the kernel said %q", r)
	}
}
