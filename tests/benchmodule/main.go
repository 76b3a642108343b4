// SPDX-License-Identifier: BSD-3-Clause

// Command benchmodule compares our module with the kernel's own kheaders.ko, with
// the same archive, on the same kernel, in one boot. It fails if ours costs too
// much.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/kheaders/kheaders/harness/rig"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
)

// What ours may cost.
const (
	// moreMemory is in bytes, on top of the kernel's own.
	moreMemory = 8 << 10
	// moreTime is the factor by which loading may seem slower: on a busy machine,
	// medians of fifty loads differ by that much.
	moreTime = 1.1
)

func main() { rig.Main(bench) }

func bench(ctx context.Context, spec string, targets []target.Target) error {
	var failed []error
	for _, t := range targets {
		facts, err := measure(ctx, t, spec)
		if err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
		facts.print()
		if err := facts.judge(); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", t.Name, err))
		}
	}
	return errors.Join(failed...)
}

// facts are the figures of one boot, under the guest's names for them.
type facts struct {
	arch, release string
	size          int64
	value         map[string]float64
}

// buffers are the sizes to read the files with.
var buffers = []int64{4 << 10, 64 << 10, 1 << 20}

// measure boots a guest that measures both modules.
func measure(ctx context.Context, t target.Target, spec string) (facts, error) {
	results, err := filepath.Abs(filepath.Join("out", "bench-module", t.Name)) // make needs an absolute path
	if err != nil {
		return facts{}, err
	}
	boot, err := rig.Prepare(ctx, spec, t, rig.DefaultProfile, results, func(c *rig.Config) {
		c.Tests = rig.Module + "/tests/benchmodule/guest"
		c.Limits.Silence, c.Limits.Deadline = time.Minute, time.Minute // it says nothing while it measures
	})
	if err != nil {
		return facts{}, err
	}
	defer boot.Close()
	carrier := boot.Carrier()
	if carrier.OwnModule, err = buildOwn(ctx, t, boot, filepath.Join(results, "own")); err != nil {
		return facts{}, fmt.Errorf("building the kernel's own kheaders.ko: %w", err)
	}
	cell := boot.Run(ctx)
	if cell.Verdict != verdict.Pass {
		return facts{}, fmt.Errorf("verdict %s: %s", cell.Verdict, cell.Reason)
	}
	f := facts{arch: t.Name, release: cell.Release, value: map[string]float64{}}
	for _, a := range cell.Attrs {
		if v, err := strconv.ParseFloat(a.Value, 64); err == nil {
			f.value[a.Key] = v
		}
	}
	for name, path := range map[string]string{"ours_ko": carrier.Module.Path, "own_ko": carrier.OwnModule} {
		info, err := os.Stat(path)
		if err != nil {
			return facts{}, err
		}
		f.value[name] = float64(info.Size())
	}
	info, err := os.Stat(boot.Archive().Path)
	if err != nil {
		return facts{}, err
	}
	f.size = info.Size()
	return f, nil
}

// buildOwn builds the kernel's own kernel/kheaders.c as a module with our archive,
// which it expects as kernel/kheaders_data.tar.xz.
func buildOwn(ctx context.Context, t target.Target, boot *rig.Session, dir string) (string, error) {
	built := boot.Kernel()
	for name, from := range map[string]string{
		"kheaders.c":                  filepath.Join(built.SourceDir, "kernel/kheaders.c"),
		"kernel/kheaders_data.tar.xz": boot.Archive().Path,
	} {
		data, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return "", err
		}
	}
	kbuild := "obj-m := kheaders.o\nccflags-y := -Wa,-I" + dir + "\n"
	if err := os.WriteFile(filepath.Join(dir, "Kbuild"), []byte(kbuild), 0o644); err != nil {
		return "", err
	}
	err := rig.Cmd{Argv: []string{
		"make", "-C", built.Dir, "M=" + dir, "ARCH=" + t.MakeArch, "CROSS_COMPILE=" + t.Cross(), "modules",
	}}.Run(ctx)
	return filepath.Join(dir, rig.ModuleFile), err
}

// print writes the table.
func (f facts) print() {
	fmt.Printf("%s %s, archive of %d bytes, tcg or kvm as kheaders test chooses\n", f.arch, f.release, f.size)
	fmt.Printf("  %-34s %14s %14s\n", "", "ours (/proc)", "own (/sys)")
	row := func(what, format string, unit float64, key string) {
		fmt.Printf("  %-34s %14s %14s\n", what, fmt.Sprintf(format, f.value["ours_"+key]/unit), fmt.Sprintf(format, f.value["own_"+key]/unit))
	}
	row(".ko, bytes", "%.0f", 1, "ko")
	row("size in /proc/modules, bytes", "%.0f", 1, "size")
	row("VmallocUsed while loaded, KiB", "%.0f", 1<<10, "vmalloc")
	row("VmallocUsed after unloading, KiB", "%.0f", 1<<10, "left")
	row("load, median of 50, ms", "%.2f", 1e-3, "load")
	row("unload, median of 50, ms", "%.2f", 1e-3, "unload")
	for _, buffer := range buffers {
		row(fmt.Sprintf("read() calls with %d KiB", buffer>>10), "%.0f", 1, fmt.Sprintf("calls_%d", buffer))
	}
	for _, buffer := range buffers {
		row(fmt.Sprintf("whole read with %d KiB, MB/s", buffer>>10), "%.0f", 1e6, fmt.Sprintf("rate_%d", buffer))
	}
}

// judge returns everything that is not as it should be.
func (f facts) judge() error {
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for _, key := range []string{"ko", "size", "vmalloc", "load", "unload", "left"} {
		for _, which := range []string{"ours_", "own_"} {
			if _, ok := f.value[which+key]; !ok {
				add("the guest did not report %s%s", which, key)
			}
		}
	}
	for _, key := range []string{"size", "vmalloc"} {
		ours, own := f.value["ours_"+key], f.value["own_"+key]
		if ours < float64(f.size) || own < float64(f.size) {
			add("%s: %.0f and %.0f bytes, less than the archive's %d", key, ours, own, f.size)
		}
		if ours > own+moreMemory {
			add("%s: ours takes %.0f bytes more than the kernel's own, more than %d", key, ours-own, moreMemory)
		}
	}
	if left := f.value["ours_left"]; left > 0 {
		add("unloading leaves %.0f bytes", left)
	}
	if ours, own := f.value["ours_load"], f.value["own_load"]; ours > own*moreTime {
		add("ours loads in %.2f ms, the kernel's own in %.2f ms", ours*1e3, own*1e3)
	}
	for _, buffer := range buffers {
		// A read in /proc fills the buffer, one in /sys at most a page; the last
		// call returns nothing.
		calls := func(unit int64) float64 { return float64((f.size+unit-1)/unit + 1) }
		key := fmt.Sprintf("calls_%d", buffer)
		if got, want := f.value["ours_"+key], calls(buffer); got != want {
			add("reading ours with %d bytes takes %.0f calls, not %.0f", buffer, got, want)
		}
		if got, want := f.value["own_"+key], calls(4096); got != want {
			add("reading the kernel's own with %d bytes takes %.0f calls, not %.0f", buffer, got, want)
		}
	}
	return errors.Join(problems...)
}
