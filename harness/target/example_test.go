// SPDX-License-Identifier: BSD-3-Clause

package target_test

import (
	"fmt"
	"log"

	"github.com/kheaders/kheaders/harness/target"
)

// Every name of an architecture finds the same record.
func ExampleLookup() {
	for _, name := range []string{"x86_64", "amd64", "aarch64"} {
		t, err := target.Lookup(name)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(name, t.Name, t.SrcArch, t.GOARCH)
	}
	// Output:
	// x86_64 x86_64 x86 amd64
	// amd64 x86_64 x86 amd64
	// aarch64 arm64 arm64 arm64
}
