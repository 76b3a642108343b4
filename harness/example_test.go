// SPDX-License-Identifier: BSD-3-Clause

package harness_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/kheaders/kheaders/harness"
)

// Two kernels on one architecture. The results directory gets results.json,
// junit.xml, and a console for each.
func ExampleRun() {
	run, err := harness.Run(context.Background(), harness.Options{
		Kernels: []string{"debian:6.12", "debian-image:6.1"},
		Archs:   []string{"arm64"},
		Cache:   "/var/cache/kheaders",
		Results: "/tmp/results",
	})
	if err != nil {
		log.Fatal(err) // the options are wrong, or the results cannot be written
	}
	for _, cell := range run.Cells {
		fmt.Println(cell.Kernel, cell.Verdict, cell.Reason)
	}
	os.Exit(run.ExitCode())
}
