// SPDX-License-Identifier: BSD-3-Clause

// Package unreported is a guest test binary that declares a test and does not run it.
package unreported

import (
	"flag"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.run", "^TestReported$"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestReported(*testing.T) {}

func TestUnreported(*testing.T) {}
