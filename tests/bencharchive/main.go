// SPDX-License-Identifier: BSD-3-Clause

// Command bencharchive compares kheaders archive with the kernel's own generator,
// and with xz alone, on the same trees. It runs all of them in turn, since timings
// on a shared machine drift. It fails if a bound is exceeded, or if the archives
// do not have the same headers.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kheaders/kheaders/harness/rig"
	"github.com/kheaders/kheaders/harness/target"
)

// The bounds, as ratios of medians.
const (
	minSpeedup   = 4.0   // over the generator, with xz
	maxBytes     = 0.985 // of the generator's archive, with xz
	maxOverXZ    = 1.10  // of the time of xz alone on the finished tar
	minSpeedupGo = 8.0   // over the generator, with the Go compressor
	maxBytesGo   = 1.31  // of the generator's archive, with the Go compressor
	maxMemoryMiB = 350   // for our process and its children
)

func main() {
	pairs := flag.Int("pairs", 5, "run each `N` times")
	rig.Main(func(ctx context.Context, spec string, targets []target.Target) error {
		return bench(ctx, spec, targets, *pairs)
	})
}

func bench(ctx context.Context, spec string, targets []target.Target, pairs int) error {
	repo, err := rig.Repo(ctx)
	if err != nil {
		return err
	}
	out := filepath.Join(repo, "out", "bench-archive")
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	var missed []error
	for _, t := range targets {
		b := &rivals{pairs: pairs, target: t, dir: filepath.Join(out, t.Name)}
		if err := b.prepare(ctx, repo, spec); err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
		err := b.race(ctx)
		if err == nil {
			err = b.judge()
		}
		if err != nil {
			missed = append(missed, fmt.Errorf("%s: %w", t.Name, err))
		}
	}
	return errors.Join(missed...)
}

// rivals are the ways to make an archive of one kernel.
type rivals struct {
	pairs  int
	target target.Target
	dir    string // for our files

	program       string // kheaders
	source, build string // the trees
	tar           string // the input of xz alone

	generator, xz, alone, fast, idle, theirIdle []float64 // seconds
	theirBytes, xzBytes, fastBytes              int64
	memoryMiB                                   float64
}

const (
	theirs = "kernel/kheaders_data.tar.xz" // below build, as in a kernel's build
	ours   = "kheaders.tar.xz"
	fast   = "fast.tar.xz"
)

// prepare builds kheaders and copies the object tree, since the generator writes
// to it.
func (b *rivals) prepare(ctx context.Context, repo string, spec string) error {
	built, err := rig.BuildKernel(ctx, spec, b.target)
	if err != nil {
		return err
	}
	b.source, b.build = built.Source, filepath.Join(b.dir, "build")
	for _, sub := range []string{"include", filepath.Join("arch", b.target.SrcArch, "include")} {
		if err := os.CopyFS(filepath.Join(b.build, sub), os.DirFS(filepath.Join(built.Build, sub))); err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(b.build, "kernel"), 0o755); err != nil {
		return err
	}
	b.program = filepath.Join(b.dir, "kheaders")
	return rig.Cmd{Argv: []string{"go", "build", "-o", b.program, "./harness/cmd/kheaders"}, Dir: repo}.Run(ctx)
}

// race runs all of them, in turn.
func (b *rivals) race(ctx context.Context) error {
	for i := range b.pairs {
		if err := b.clear(); err != nil {
			return err
		}
		for _, step := range []struct {
			seconds *[]float64
			run     func(context.Context) error
		}{
			{&b.generator, b.generate},
			{&b.theirIdle, b.generate},
			{&b.xz, func(ctx context.Context) error { return b.pack(ctx, ours, "xz") }},
			{&b.idle, func(ctx context.Context) error { return b.pack(ctx, ours, "xz") }},
			{&b.alone, b.compress},
			{&b.fast, func(ctx context.Context) error { return b.pack(ctx, fast, "go") }},
		} {
			start := time.Now()
			if err := step.run(ctx); err != nil {
				return err
			}
			*step.seconds = append(*step.seconds, time.Since(start).Seconds())
		}
		fmt.Fprintf(os.Stderr, "%s: %d of %d\n", b.target.Name, i+1, b.pairs)
	}
	if err := b.sameHeaders(ctx); err != nil {
		return err
	}
	for _, file := range []struct {
		name  string
		bytes *int64
	}{{filepath.Join(b.build, theirs), &b.theirBytes}, {b.path(ours), &b.xzBytes}, {b.path(fast), &b.fastBytes}} {
		info, err := os.Stat(file.name)
		if err != nil {
			return err
		}
		*file.bytes = info.Size()
	}
	return nil
}

func (b *rivals) path(name string) string { return filepath.Join(b.dir, name) }

// clear removes whatever would spare any of them its work, and then waits until
// the trees are old enough to count as unchanged: headers that did not change are
// more than seconds old.
func (b *rivals) clear() error {
	for _, name := range []string{filepath.Join(b.build, theirs), filepath.Join(b.build, "kernel/kheaders.md5"), b.path(ours), b.path(fast), b.path("cache")} {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	time.Sleep(3 * time.Second)
	return nil
}

// generate runs the kernel's own generator as its Makefile does.
func (b *rivals) generate(ctx context.Context) error {
	return rig.Cmd{
		Argv: []string{"sh", filepath.Join(b.source, "kernel/gen_kheaders.sh"), theirs},
		Dir:  b.build,
		Env:  []string{"srctree=" + b.source, "SRCARCH=" + b.target.SrcArch, "building_out_of_srctree=1", "XZ=xz", "KBUILD_BUILD_TIMESTAMP="},
	}.Run(ctx)
}

// pack runs kheaders archive.
func (b *rivals) pack(ctx context.Context, output, compressor string) error {
	done := make(chan float64)
	stop := make(chan struct{})
	go func() { done <- watchMemory(b.program, stop) }()
	err := rig.Cmd{Argv: []string{
		b.program, "archive", "--source", b.source, "--build", b.build, "--arch", b.target.Name,
		"--output", b.path(output), "--compressor", compressor, "--cache", b.path("cache"),
	}}.Run(ctx)
	close(stop)
	b.memoryMiB = max(b.memoryMiB, <-done)
	return err
}

// compress runs xz alone, on the tar from our archive.
func (b *rivals) compress(ctx context.Context) (err error) {
	if b.tar == "" {
		b.tar = b.path("kheaders.tar")
		out, err := os.Create(b.tar)
		if err != nil {
			return err
		}
		err = rig.Cmd{Argv: []string{"xz", "-dc", b.path(ours)}, Stdout: out}.Run(ctx)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
	in, err := os.Open(b.tar)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.Create(b.path("alone.tar.xz"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return rig.Cmd{Argv: rig.XZCommand(), Stdin: in, Stdout: out}.Run(ctx)
}

// sameHeaders checks that the archives have the same paths. It ignores the
// contents, and the one header that newer kernels leave out.
func (b *rivals) sameHeaders(ctx context.Context) error {
	want, err := paths(ctx, filepath.Join(b.build, theirs))
	if err != nil {
		return err
	}
	delete(want, "./include/generated/utsversion.h")
	for _, name := range []string{ours, fast} {
		got, err := paths(ctx, b.path(name))
		if err != nil {
			return err
		}
		if maps.Equal(got, want) {
			continue
		}
		for path := range got {
			if !want[path] {
				return fmt.Errorf("%s has %s, but the kernel's own archive does not", name, path)
			}
		}
		for path := range want {
			if !got[path] {
				return fmt.Errorf("%s has no %s, but the kernel's own archive does", name, path)
			}
		}
	}
	return nil
}

// paths lists the files in an archive, without directories.
func paths(ctx context.Context, name string) (map[string]bool, error) {
	data, err := rig.Cmd{Argv: []string{"xz", "-dc", name}}.Output(ctx)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if h.Typeflag != tar.TypeDir {
			found[h.Name] = true
		}
	}
}

// judge prints the medians and compares them with the bounds.
func (b *rivals) judge() error {
	var missed []error
	line := func(name string, seconds []float64, bytes int64, notes ...string) {
		fmt.Printf("%-8s %-26s %8.2f s %10d B  %s\n", b.target.Name, name, median(seconds), bytes, strings.Join(notes, ", "))
	}
	bound := func(name string, value, limit float64, atMost bool) string {
		if atMost && value > limit || !atMost && value < limit {
			missed = append(missed, fmt.Errorf("%s is %.3f, the bound is %.3f", name, value, limit))
		}
		return fmt.Sprintf("%s %.3f (bound %.3f)", name, value, limit)
	}
	generator := median(b.generator)
	line("kernel/gen_kheaders.sh", b.generator, b.theirBytes)
	line("archive", b.xz, b.xzBytes,
		bound("speedup", generator/median(b.xz), minSpeedup, false),
		bound("bytes", float64(b.xzBytes)/float64(b.theirBytes), maxBytes, true))
	line("xz alone", b.alone, b.xzBytes, bound("archive over it", median(b.xz)/median(b.alone), maxOverXZ, true))
	line("archive --compressor go", b.fast, b.fastBytes,
		bound("speedup", generator/median(b.fast), minSpeedupGo, false),
		bound("bytes", float64(b.fastBytes)/float64(b.theirBytes), maxBytesGo, true))
	line("gen_kheaders.sh, unchanged", b.theirIdle, b.theirBytes)
	line("archive, unchanged", b.idle, b.xzBytes, bound("over the generator", median(b.idle)/median(b.theirIdle), 1, true))
	fmt.Printf("%-8s %s\n", b.target.Name, bound("MiB of memory", b.memoryMiB, maxMemoryMiB, true))
	return errors.Join(missed...)
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
