// SPDX-License-Identifier: BSD-3-Clause

package mode

import (
	"context"
	"errors"

	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/kmod"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/internal/stage"
)

// module loads the headers as a module, into a kernel that knows nothing of it.
func module() Mode {
	const name = "module"
	return Mode{
		Name:  name,
		Check: func(kernel.Spec, string) error { return nil },
		Step:  name,
		Carry: func(ctx context.Context, in CarryInput) (stage.Carrier, error) {
			files, err := render(in.Archive, in.Kernel.Release, in.Target.SrcArch)
			if err != nil {
				return stage.Carrier{}, err
			}
			return carryModule(ctx, in, name, files, buildModule)
		},
	}
}

// buildModule has kbuild build the module around the archive.
func buildModule(ctx context.Context, in CarryInput, loader kmod.Kernel, files map[string][]byte, dir string) error {
	if err := fill(dir, files, in.Archive.Path); err != nil {
		return err
	}
	err := kmod.Build(ctx, loader, kmod.BuildOptions{Target: in.Target, Dir: dir, Log: in.Log, Jobs: in.Jobs})
	if _, failed := errors.AsType[*run.Error](err); failed {
		err = in.Kernel.ExplainMake(err, in.Log)
	}
	return err
}
