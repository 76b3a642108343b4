// SPDX-License-Identifier: BSD-3-Clause

// Package rig is what the programs share that boot, or pack, the same kernel
// again and again to measure it.
package rig

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/kheaders/kheaders/harness"
	"github.com/kheaders/kheaders/harness/guest"
	"github.com/kheaders/kheaders/harness/kernel"
	"github.com/kheaders/kheaders/harness/target"
)

// Main parses the command line, which besides the caller's flags has -kernel and
// -arch, and runs f on what they say. Ctrl-C cancels the context; an error ends
// the program with exit code 1.
func Main(f func(ctx context.Context, spec kernel.Spec, targets []target.Target) error) {
	text := flag.String("kernel", "debian:6.12", "take this kernel: a `SPEC` as for kheaders test")
	arch := flag.String("arch", "", "take this `ARCH`itecture alone")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := func() error {
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
		return f(ctx, spec, targets)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// Cache returns the user's cache, in which kernels need not be built again.
func Cache() (string, error) {
	user, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("looking for the cache: %w", err)
	}
	return filepath.Join(user, "kheaders"), nil
}

// Prepare makes a cell ready to boot: the default profile, with the module. Its
// results go to out/NAME/ARCH in the repository. More, if not nil, changes the
// configuration. The caller calls release.
func Prepare(ctx context.Context, name string, spec kernel.Spec, t target.Target, more func(*harness.Config)) (_ *harness.Boot, results string, release func(), err error) {
	store, err := Cache()
	if err != nil {
		return nil, "", nil, err
	}
	repo, err := guest.FindRepo(".")
	if err != nil {
		return nil, "", nil, err
	}
	results = filepath.Join(repo, "out", name, t.Name)
	config := harness.Config{
		Repo: repo, Cache: store, Results: results,
		Kernels: []kernel.Spec{spec}, Targets: []target.Target{t},
		Profiles: []string{kernel.DefaultProfile}, Modes: []string{harness.ModeModule},
	}
	if more != nil {
		more(&config)
	}
	boot, release, err := harness.Prepare(ctx, config)
	return boot, results, release, err
}
