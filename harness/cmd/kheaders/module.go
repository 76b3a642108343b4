// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/mode"
	"github.com/kheaders/kheaders/harness/internal/pipeline"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/module/source"
)

func runModule(ctx context.Context, c *call) error {
	archive := c.flags.String("archive", "", "embed the archive `FILE`")
	build := c.flags.String("build", "", "refuse what does not fit the kernel in this object `DIR`ectory")
	dkms := c.flags.Bool("dkms", false, "write a directory for dkms, which builds the module for any kernel with that kernel's headers")
	output := c.flags.String("output", "", "write the module's source to `DIR`, which must not exist or be empty; with --in-tree, the patch to this file")
	inTree := c.flags.Bool("in-tree", false, "write a patch that builds the headers into a kernel")
	tree := c.flags.String("source", "", "with --in-tree, the patch is for the kernel tree in `DIR`")
	if _, err := c.parse(0); err != nil {
		return err
	}
	switch {
	case *inTree && *dkms:
		return hint.Usage(errors.New("--in-tree and --dkms exclude each other"), "leave one of them out")
	case *inTree && *archive != "":
		return hint.Usage(errors.New("--archive and --in-tree exclude each other: the kernel's own build packs the archive"), "leave one of them out")
	case *inTree && *build != "":
		return hint.Usage(errors.New("--build and --in-tree exclude each other: the patch is for a source tree"), "leave one of them out")
	case *inTree:
		return c.writePatch(*tree, *output)
	case *tree != "":
		return hint.Usage(errors.New("--source is for --in-tree"), "add --in-tree, or leave --source out")
	case *dkms && (*archive != "" || *build != ""):
		return hint.Usage(errors.New("--dkms goes without --archive and --build: the headers are packed when DKMS builds for a kernel"), "leave them out, or leave --dkms out")
	}
	needed := []string{"archive", "output"}
	if *dkms {
		needed = []string{"output"}
	}
	if err := c.required(needed...); err != nil {
		return err
	}
	if !*dkms {
		if err := checkInput(*archive); err != nil {
			return err
		}
	}
	info, err := os.Stat(*output)
	if err == nil && !info.IsDir() {
		err = errors.New("it is not a directory")
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return hint.Usage(fmt.Errorf("writing %s: %w", *output, err), "name a directory that does not exist yet")
	}
	if *dkms {
		if err := mode.WriteDKMS(*output); err != nil {
			return pipeline.Advise(err, target.All()[0], pipeline.Place{Path: *output, Change: "choose another --output DIR"})
		}
		fmt.Fprintf(c.stdout, "%s: dkms add %[1]s && dkms install %s/%s\n", *output, source.ModuleName, source.Version)
		return nil
	}
	if err := mode.WriteModule(ctx, *archive, *build, *output); err != nil {
		return pipeline.Advise(err, target.All()[0], pipeline.Place{Path: *output, Change: "choose another --output DIR"})
	}
	fmt.Fprintf(c.stdout, "%s: make -C KERNEL M=\"$PWD\" builds kheaders.ko in there\n", *output)
	return nil
}

func (c *call) writePatch(tree, output string) error {
	if err := c.required("source", "output"); err != nil {
		return err
	}
	if err := checkOutput(output); err != nil {
		return err
	}
	if err := mode.WritePatch(tree, output); err != nil {
		return pipeline.Advise(err, target.All()[0], pipeline.Place{Path: output, Change: "choose another --output FILE"})
	}
	fmt.Fprintf(c.stdout, "%s: git am or patch -p1 adds CONFIG_%s\n", output, source.BuiltInSymbol)
	return nil
}
