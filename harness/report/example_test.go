// SPDX-License-Identifier: BSD-3-Clause

package report_test

import (
	"encoding/json"
	"fmt"
	"log"

	"github.com/kheaders/kheaders/harness/report"
	"github.com/kheaders/kheaders/harness/verdict"
)

// A program can read a results.json back.
func ExampleRun() {
	text := []byte(`{"schema": 1, "cells": [
		{"arch": "x86_64", "kernel": "debian:6.12", "verdict": "pass", "reason": "22 passed"},
		{"arch": "arm64", "kernel": "debian:6.12", "verdict": "kernel-splat", "reason": "WARNING: CPU: 0"}]}`)
	var run report.Run
	if err := json.Unmarshal(text, &run); err != nil {
		log.Fatal(err)
	}
	if run.Schema != report.Schema {
		log.Fatalf("results.json has schema %d", run.Schema)
	}
	for _, cell := range run.Cells {
		if cell.Verdict != verdict.Pass {
			fmt.Println(cell.Arch, cell.Summary())
		}
	}
	fmt.Println("exit code", run.ExitCode())
	// Output:
	// arm64 kernel-splat: WARNING: CPU: 0
	// exit code 1
}
