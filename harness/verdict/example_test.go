// SPDX-License-Identifier: BSD-3-Clause

package verdict_test

import (
	"fmt"
	"io"
	"log"
	"strings"

	"github.com/kheaders/kheaders/harness/verdict"
)

// A console can be scanned on its own: what the kernel reports is a finding,
// whatever the rest of the run was like.
func ExampleScanner() {
	console := strings.NewReader("[    1.0] all is well\n[    2.0] Kernel panic - not syncing: Attempted to kill init!\n")
	scanner := verdict.NewScanner(nil)
	if _, err := io.Copy(scanner, console); err != nil {
		log.Fatal(err)
	}
	for _, f := range scanner.Console().Findings {
		fmt.Printf("%s: %s\n", f.Name, f.Title)
	}
	// Output:
	// panic: Kernel panic - not syncing: Attempted to kill init!
}
