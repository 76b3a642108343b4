// SPDX-License-Identifier: BSD-3-Clause

// Package rig lets the programs and tests below tests/ use the harness's
// internal packages, which Go hides from them. Nobody else should need it: its
// API changes with them.
package rig

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/guest"
	"github.com/kheaders/kheaders/harness/internal/headers"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/mode"
	"github.com/kheaders/kheaders/harness/internal/pipeline"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

// Module is the Go module that all of this belongs to.
const Module = guest.Module

// DefaultProfile is the kernel configuration used when none is named.
const DefaultProfile = kernel.DefaultProfile

// Main parses the command line, which has -kernel and -arch besides the
// caller's flags, and calls f with their values. Ctrl-C cancels the context. An
// error ends the program with exit code 1.
func Main(f func(ctx context.Context, spec string, targets []target.Target) error) {
	spec := flag.String("kernel", "debian:6.12", "take this kernel: a `SPEC` as for kheaders test")
	arch := flag.String("arch", "", "take this `ARCH`itecture alone")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := func() error {
		targets := target.All()
		if *arch != "" {
			t, err := target.Lookup(*arch)
			if err != nil {
				return err
			}
			targets = []target.Target{t}
		}
		return f(ctx, *spec, targets)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// Cache returns the user's cache, whose kernels need not be built again.
func Cache() (string, error) {
	user, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("looking for the cache: %w", err)
	}
	return filepath.Join(user, "kheaders"), nil
}

// Repo returns the root of our own sources.
func Repo(ctx context.Context) (string, error) { return guest.FindSources(ctx) }

// Kernel is where a kernel was built.
type Kernel struct {
	// Source is its source tree, Build the object tree.
	Source, Build string
}

// BuildKernel builds a kernel of the default profile, or finds it in the user's
// cache.
func BuildKernel(ctx context.Context, spec string, t target.Target) (Kernel, error) {
	dir, err := Cache()
	if err != nil {
		return Kernel{}, err
	}
	parsed, err := kernel.ParseSpec(spec)
	if err != nil {
		return Kernel{}, err
	}
	store := cache.Store{Dir: dir}
	say := func(line string) { fmt.Fprintln(os.Stderr, line) }
	source, err := kernel.Fetch(ctx, store, parsed, say, t)
	if err != nil {
		return Kernel{}, err
	}
	defer source.Release()
	built, err := kernel.Build(ctx, store, source, kernel.BuildOptions{Target: t, Progress: say})
	return Kernel{Source: built.SourceDir, Build: built.Dir}, err
}

// XZCommand returns the command line that compresses archives.
func XZCommand() []string { return headers.XZCommand() }

// Prepare makes a cell ready to boot, with the headers in a module. If more is
// not nil, it changes the configuration. The caller closes the session.
func Prepare(ctx context.Context, spec string, t target.Target, profile, results string, more func(*Config)) (*Session, error) {
	store, err := Cache()
	if err != nil {
		return nil, err
	}
	repo, err := Repo(ctx)
	if err != nil {
		return nil, err
	}
	parsed, err := kernel.ParseSpec(spec)
	if err != nil {
		return nil, err
	}
	if results, err = filepath.Abs(results); err != nil {
		return nil, err
	}
	config := pipeline.Config{
		Repo: repo, Cache: store, Results: results,
		Cells: []pipeline.Cell{{Spec: parsed, Target: t, Profile: profile, Mode: mode.Default()}},
	}
	if more != nil {
		more(&config)
	}
	return pipeline.Prepare(ctx, config)
}

// Cmd is a program to run.
type Cmd = run.Cmd

// Config is what a cell's boot depends on.
type Config = pipeline.Config

// Session is a cell that is ready to boot.
type Session = pipeline.Session
