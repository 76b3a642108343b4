// SPDX-License-Identifier: BSD-3-Clause

// Command soak boots the same healthy cells again and again: each boot has to
// pass. With --load other programs keep the processors busy meanwhile.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kheaders/kheaders/harness"
	"github.com/kheaders/kheaders/harness/guest"
	"github.com/kheaders/kheaders/harness/kernel"
	"github.com/kheaders/kheaders/harness/run"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := soak(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func soak(ctx context.Context) error {
	n := flag.Int("n", 50, "boot each architecture `N` times")
	load := flag.Int("load", 0, "have `N` programs compute all the while")
	arch := flag.String("arch", "", "soak this `ARCH`itecture only")
	text := flag.String("kernel", "debian:6.12", "boot this kernel: a `SPEC` as for kheaders test")
	flag.Parse()
	spec, err := kernel.ParseSpec(*text)
	if err != nil {
		return err
	}
	targets := target.All()
	if *arch != "" {
		t, err := target.Lookup(*arch)
		if err != nil {
			return err
		}
		targets = []target.Target{t}
	}

	busy, idle := context.WithCancel(ctx)
	var programs sync.WaitGroup
	defer programs.Wait()
	defer idle()
	for range *load {
		programs.Go(func() {
			// It ends with the context; how is of no interest.
			_ = run.Cmd{Argv: []string{"sh", "-c", "while :; do :; done"}}.Run(busy)
		})
	}
	for _, t := range targets {
		if err := boots(ctx, t, spec, *n, *load); err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
	}
	return nil
}

// boots boots one architecture n times.
func boots(ctx context.Context, t target.Target, spec kernel.Spec, n, load int) error {
	user, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	repo, err := guest.FindRepo(".")
	if err != nil {
		return err
	}
	results := filepath.Join(repo, "out", "soak", t.Name)
	boot, release, err := harness.Prepare(ctx, harness.Config{
		Repo: repo, Cache: filepath.Join(user, "kheaders"), Results: results,
		Kernels: []kernel.Spec{spec}, Targets: []target.Target{t},
		Profiles: []string{kernel.DefaultProfile}, Modes: []string{harness.ModeModule},
	})
	if err != nil {
		return err
	}
	defer release()
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
