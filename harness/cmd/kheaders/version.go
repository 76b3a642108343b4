// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"fmt"
	"runtime/debug"
)

func runVersion(_ context.Context, c *call) error {
	if _, err := c.parse(0); err != nil {
		return err
	}
	info, _ := debug.ReadBuildInfo() // a Go program always has it
	// Of a binary that was built in a clone, this names the commit.
	fmt.Fprintf(c.stdout, "kheaders %s, built with %s\n", info.Main.Version, info.GoVersion)
	return nil
}
