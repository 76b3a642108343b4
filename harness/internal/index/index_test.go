// SPDX-License-Identifier: BSD-3-Clause

package index

import "testing"

// FuzzLoad holds that a damaged index is none, and that one that is read
// is written the same again.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("\x01\x00\x00\x00.\x00\x00\x00\x00"))
	f.Add([]byte("\x01\x00\x00\x00.\xff\xff\xff\xff"))
	f.Add(append([]byte("\x01\x00\x00\x00.\x01\x00\x00\x00\x01\x00\x00\x00x"), make([]byte, 72)...))
	f.Fuzz(func(t *testing.T, body []byte) {
		index, ok := parse(body)
		if !ok {
			return
		}
		again, ok := parse(appendIndex(nil, index))
		if !ok || len(again) != len(index) {
			t.Errorf("%v became %v", index, again)
		}
	})
}
