// SPDX-License-Identifier: BSD-3-Clause

// Command soak boots the same healthy cells again and again. Every boot must
// pass. With --load, other programs keep the processors busy meanwhile.
package main

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kheaders/kheaders/harness/rig"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
)

func main() {
	n := flag.Int("n", 50, "boot each architecture `N` times")
	load := flag.Int("load", 0, "keep `N` programs computing meanwhile")
	rig.Main(func(ctx context.Context, spec string, targets []target.Target) error {
		return soak(ctx, spec, targets, *n, *load)
	})
}

func soak(ctx context.Context, spec string, targets []target.Target, n, load int) error {
	busy, idle := context.WithCancel(ctx)
	var programs sync.WaitGroup
	defer programs.Wait()
	defer idle()
	for range load {
		programs.Go(func() {
			// It runs until the context ends; its error does not matter.
			_ = rig.Cmd{Argv: []string{"sh", "-c", "while :; do :; done"}}.Run(busy)
		})
	}
	for _, t := range targets {
		if err := boots(ctx, t, spec, n, load); err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
	}
	return nil
}

// boots boots one architecture n times.
func boots(ctx context.Context, t target.Target, spec string, n, load int) error {
	results := filepath.Join("out", "soak", t.Name)
	boot, err := rig.Prepare(ctx, spec, t, rig.DefaultProfile, results, nil)
	if err != nil {
		return err
	}
	defer boot.Close()
	var seconds []float64
	start := time.Now()
	for i := range n {
		cell := boot.Run(ctx)
		if cell.Verdict != verdict.Pass {
			return fmt.Errorf("boot %d of %d: %s\n%s\nsee %s", i+1, n, cell.Summary(), strings.Join(cell.Problems, "\n"), results)
		}
		seconds = append(seconds, cell.BootSeconds)
	}
	slices.Sort(seconds)
	fmt.Printf("%-8s %d boots, %d passes, beside %d busy programs: %.2f to %.2f s, median %.2f s; %.0f s in all\n",
		t.Name, n, len(seconds), load, seconds[0], seconds[n-1], seconds[n/2], time.Since(start).Seconds())
	return nil
}
