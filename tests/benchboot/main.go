// SPDX-License-Identifier: BSD-3-Clause

// Command benchboot measures how close the boot of a cell comes to the floor: the
// same machine and kernel with an init that ends at once. It boots them
// alternately, since timings on a shared machine drift.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/kheaders/kheaders/harness/rig"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
	"github.com/kheaders/kheaders/initramfs"
)

func main() {
	pairs := flag.Int("pairs", 7, "boot each `N` times")
	rig.Main(func(ctx context.Context, spec string, targets []target.Target) error {
		return bench(ctx, spec, targets, *pairs)
	})
}

func bench(ctx context.Context, spec string, targets []target.Target, pairs int) error {
	var slow []error
	fmt.Printf("%-8s %6s %10s %10s %7s %9s\n", "arch", "boots", "floor", "verdict", "ratio", "allowed")
	for _, t := range targets {
		floor, cell, err := measure(ctx, t, spec, pairs)
		if err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
		allowed := max(t.BootBudget.Seconds(), 2*floor)
		fmt.Printf("%-8s %6d %8.2f s %8.2f s %7.2f %7.2f s\n", t.Name, pairs, floor, cell, cell/floor, allowed)
		if cell > allowed {
			slow = append(slow, fmt.Errorf("%s takes %.2f s from QEMU's start to the verdict, more than %.2f s", t.Name, cell, allowed))
		}
	}
	return errors.Join(slow...)
}

// measure returns the medians, in seconds, of the floor and of a whole cell.
func measure(ctx context.Context, t target.Target, spec string, pairs int) (floor, cell float64, err error) {
	results := filepath.Join("out", "bench-boot", t.Name)
	boot, err := rig.Prepare(ctx, spec, t, rig.DefaultProfile, results, nil)
	if err != nil {
		return 0, 0, err
	}
	defer boot.Close()
	image, err := floorImage(ctx, t, results)
	if err != nil {
		return 0, 0, err
	}
	var floors, cells []float64
	for range pairs {
		seconds, err := boot.Floor(ctx, image)
		if err != nil {
			return 0, 0, err
		}
		floors = append(floors, seconds)
		out := boot.Run(ctx)
		if out.Verdict != verdict.Pass {
			return 0, 0, fmt.Errorf("verdict %s: %s", out.Verdict, out.Reason)
		}
		cells = append(cells, out.BootSeconds)
	}
	return median(floors), median(cells), nil
}

// floorImage makes an initramfs of nothing but our init.
func floorImage(ctx context.Context, t target.Target, dir string) (_ string, err error) {
	program := filepath.Join(dir, "init")
	err = rig.Cmd{
		Argv: []string{"go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, rig.Module + "/tests/benchboot/init"},
		Env:  t.GoEnv(),
	}.Run(ctx)
	if err != nil {
		return "", err
	}
	image := filepath.Join(dir, "floor.cpio")
	f, err := os.Create(image)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return image, initramfs.Write(io.Writer(f), os.DevNull, []initramfs.File{{Path: "init", Mode: 0o755, Source: program}})
}

func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
