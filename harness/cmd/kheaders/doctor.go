// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/kheaders/kheaders/harness/internal/doctor"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/mode"
	"github.com/kheaders/kheaders/harness/internal/pipeline"
	"github.com/kheaders/kheaders/harness/internal/toolchain"
	"github.com/kheaders/kheaders/harness/target"
)

func runDoctor(ctx context.Context, c *call) error {
	var archs, profiles, modes []string
	c.listFlag(&archs, "arch", "look for what this `ARCH`itecture needs; repeatable (default all)")
	c.listFlag(&profiles, "profile", "also look for what only this `PROFILE` needs; repeatable (default all that gcc builds)")
	c.listFlag(&modes, "mode", "also look for what only this `MODE` of test needs; repeatable")
	bpf := c.flags.Bool("bpf", false, "also look for what test --bpf needs")
	install := c.flags.Bool("install", false, "install what is missing, with apt")
	quiet := c.flags.Bool("quiet", false, "print nothing if nothing is missing")
	checks := c.flags.Bool("checks", false, "also look for what the project's own tests need")
	asJSON := c.flags.Bool("json", false, "print a JSON array")
	if _, err := c.parse(0); err != nil {
		return err
	}
	targets, uses, err := needs(archs, profiles, modes)
	if err != nil {
		return err
	}
	if *bpf {
		uses = append(uses, doctor.BPF)
	}
	examine := func() []doctor.Tool {
		tools := doctor.Needed(doctor.Examine(ctx, targets), uses...)
		if *checks {
			tools = append(tools, doctor.Checks()...)
		}
		return tools
	}
	if *install {
		progress := func(line string) { fmt.Fprintln(c.stderr, "+ "+line) }
		if err := doctor.Install(ctx, doctor.Missing(examine()), progress); err != nil {
			return err
		}
	}
	tools := examine()
	switch {
	case *asJSON:
		if err := printJSON(c.stdout, tools); err != nil {
			return err
		}
	case !*quiet:
		for _, tool := range tools {
			where := tool.Path
			if tool.Missing() {
				where = "missing (Debian: " + tool.Package + ")"
			}
			fmt.Fprintf(c.stdout, "%-24s %-36s %s\n", tool.Name, tool.For, where)
		}
	}
	if err := doctor.Error(doctor.Missing(tools)); err != nil {
		return err
	}
	return toolchain.Go(ctx)
}

// needs returns the architectures, and what doctor must look for on them.
func needs(archs, profiles, modes []string) (targets []target.Target, uses []string, err error) {
	for _, name := range archs {
		t, err := pipeline.Arch(name)
		if err != nil {
			return nil, nil, err
		}
		targets = append(targets, t)
	}
	if len(targets) == 0 {
		targets = target.All()
	}
	// The rest of LLVM is large, so it is only for those who ask for it.
	uses = slices.DeleteFunc(kernel.Profiles(), kernel.UsesClang)
	for _, name := range profiles {
		if _, err := pipeline.Profile(name); err != nil {
			return nil, nil, err
		}
		uses = append(uses, name)
	}
	for _, name := range modes {
		m, err := mode.Lookup(name)
		if err != nil {
			return nil, nil, err
		}
		uses = append(uses, m.Uses...)
	}
	return targets, uses, nil
}
