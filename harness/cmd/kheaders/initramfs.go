// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/guest"
	"github.com/kheaders/kheaders/harness/internal/pipeline"
)

func runInitramfs(ctx context.Context, c *call) error {
	arch := c.targetFlag()
	module := c.flags.String("module", "", "put this kheaders.ko `FILE` in it")
	output := c.flags.String("output", "", "write the cpio archive to `FILE`")
	var dir string
	c.cacheFlag(&dir)
	if _, err := c.parse(0); err != nil {
		return err
	}
	if err := c.required("arch", "module", "output"); err != nil {
		return err
	}
	t, err := pipeline.Arch(*arch)
	if err != nil {
		return err
	}
	if err := checkOutput(*output); err != nil {
		return err
	}
	repo, err := guest.FindSources(ctx)
	if err != nil {
		return err
	}
	if dir, err = pipeline.CacheDir(dir); err != nil {
		return err
	}
	return pipeline.WriteInitramfs(ctx, guest.Builder{Repo: repo, Store: cache.Store{Dir: dir}}, t, *module, *output)
}
