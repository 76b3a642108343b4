// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/pipeline"
)

func runKernel(ctx context.Context, c *call) error {
	text := c.flags.String("kernel", "", "build or fetch this kernel: a `SPEC` as for test (default debian:6.12)")
	arch := c.targetFlag()
	profile := c.flags.String("profile", kernel.DefaultProfile, "use this kernel configuration `PROFILE`")
	var config string
	c.configFlag(&config)
	jobs := c.flags.Int("jobs", 0, "run `N` compilers at once (default one per processor)")
	var dir string
	c.cacheFlag(&dir)
	asJSON := c.flags.Bool("json", false, "print a JSON object")
	if _, err := c.parse(0); err != nil {
		return err
	}
	if err := c.required("arch"); err != nil {
		return err
	}
	t, err := pipeline.Arch(*arch)
	if err != nil {
		return err
	}
	from, err := pipeline.Kernel(*text)
	if err != nil {
		return err
	}
	if _, err := pipeline.Profile(*profile); err != nil {
		return err
	}
	if err := from.CheckProfile(*profile); err != nil {
		return err
	}
	var user kernel.Configuration
	if config != "" {
		if user, err = kernel.ReadConfiguration(config); err != nil {
			return err
		}
	}
	if err := from.CheckConfiguration(user); err != nil {
		return err
	}
	if *jobs < 0 {
		return hint.Usage(errors.New("jobs cannot be negative"), "leave --jobs out for one per processor")
	}
	if dir, err = pipeline.CacheDir(dir); err != nil {
		return err
	}
	progress := func(line string) { fmt.Fprintln(c.stderr, line) }
	store := cache.Store{Dir: dir}
	source, err := kernel.Fetch(ctx, store, from, progress, t)
	if err != nil {
		return pipeline.Advise(err, t, pipeline.CachePlace(dir))
	}
	defer source.Release()
	built, err := kernel.Build(ctx, store, source, kernel.BuildOptions{Target: t, Profile: *profile, User: user, Jobs: *jobs, Progress: progress})
	if err != nil {
		return pipeline.Advise(err, t, pipeline.CachePlace(dir))
	}
	if *asJSON {
		return printJSON(c.stdout, struct {
			Release string `json:"release"`
			Arch    string `json:"arch"`
			Source  string `json:"source"`
			Build   string `json:"build"`
			Image   string `json:"image"`
			Config  string `json:"config"`
			Cached  bool   `json:"cached"`
		}{built.Release, t.Name, built.SourceDir, built.Dir, built.Image, built.Config, built.Cached})
	}
	for _, line := range [][2]string{
		{"release", built.Release}, {"source", built.SourceDir}, {"build", built.Dir}, {"image", built.Image}, {"config", built.Config},
	} {
		fmt.Fprintf(c.stdout, "%-8s %s\n", line[0], line[1])
	}
	return nil
}
