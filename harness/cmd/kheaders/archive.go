// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/kheaders/kheaders/harness/internal/headers"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/pipeline"
	"github.com/kheaders/kheaders/harness/target"
)

func runArchive(ctx context.Context, c *call) error {
	source := c.flags.String("source", "", "the kernel's source `DIR`ectory")
	build := c.flags.String("build", "", "its object `DIR`ectory (default: built in the source)")
	arch := c.targetFlag()
	output := c.flags.String("output", "", "write the archive to `FILE`")
	var compressor string
	c.compressorFlag(&compressor)
	comments := c.flags.String("comments", "strip", "strip or keep the headers' comments: `strip|keep`")
	var dir string
	c.cacheFlag(&dir)
	asJSON := c.flags.Bool("json", false, "print a JSON object")
	if _, err := c.parse(0); err != nil {
		return err
	}
	if err := c.required("source", "arch", "output"); err != nil {
		return err
	}
	t, err := pipeline.Arch(*arch)
	if err != nil {
		return err
	}
	if *comments != "strip" && *comments != "keep" {
		return hint.Usage(fmt.Errorf("--comments cannot be %q", *comments), "use --comments=strip or --comments=keep")
	}
	if err := checkOutput(*output); err != nil {
		return err
	}
	options := headers.Options{
		Source: *source, Build: *build, Target: t, Output: *output, Compressor: compressor, KeepComments: *comments == "keep",
	}
	if dir != "" {
		options.State = filepath.Join(dir, "index")
	}
	result, err := headers.Pack(ctx, options)
	if err != nil {
		return pipeline.Advise(err, t, pipeline.Place{Path: *output, Change: "choose another --output FILE"}, pipeline.CachePlace(cmp.Or(dir, *output)))
	}
	if *asJSON {
		return printJSON(c.stdout, result)
	}
	unchanged := ""
	if result.Unchanged {
		unchanged = "unchanged, "
	}
	fmt.Fprintf(c.stdout, "%s: %s%d bytes, %d headers, sha256 %s\n", result.Path, unchanged, result.Size, result.Files, result.SHA256)
	return nil
}

func runInfo(ctx context.Context, c *call) error {
	asJSON := c.flags.Bool("json", false, "print a JSON object")
	args, err := c.parse(1)
	if err != nil {
		return err
	}
	if err := checkInput(args[0]); err != nil {
		return err
	}
	info, err := headers.Inspect(ctx, args[0])
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(c.stdout, info)
	}
	links := ""
	if info.Links > 0 {
		links = fmt.Sprintf(", and %d links to some", info.Links)
	}
	for _, line := range [][2]any{
		{"release", info.Release},
		{"architecture", fmt.Sprintf("%s, %d bit", info.Arch, info.Bits)},
		{"headers", fmt.Sprintf("%d in %d directories%s", info.Files, info.Dirs, links)},
		{"content", fmt.Sprintf("%d bytes, %d as tar", info.HeaderBytes, info.TarBytes)},
		{"archive", fmt.Sprintf("%d bytes", info.Size)},
		{"compression", fmt.Sprintf("xz, %s, %d blocks, check %s", info.Compression.LZMA, info.Compression.Blocks, info.Compression.Check)},
		{"dated", info.ModTime.UTC().Format(time.RFC3339)},
		{"sha256", info.SHA256},
	} {
		fmt.Fprintf(c.stdout, "%-12s %v\n", line[0], line[1])
	}
	return nil
}

func runExtract(ctx context.Context, c *call) error {
	args, err := c.parse(2)
	if err != nil {
		return err
	}
	if err := checkInput(args[0]); err != nil {
		return err
	}
	if err := checkParent(args[1]); err != nil {
		return err
	}
	info, err := headers.Extract(ctx, args[0], args[1])
	if err != nil {
		return pipeline.Advise(err, target.All()[0], pipeline.Place{Path: args[1], Change: "extract it to another DIR"})
	}
	fmt.Fprintf(c.stdout, "%s: %d headers of %s\n", args[1], info.Files, info.Release)
	return nil
}
