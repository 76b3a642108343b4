// SPDX-License-Identifier: BSD-3-Clause

package stage

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/bpf"
	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

// ProgramInput is what [Program] takes.
type ProgramInput struct {
	Store   cache.Store
	Kernel  kernel.Kernel
	Archive File
	Target  target.Target
	// Log receives clang's output.
	Log string
	Say Say
}

// Program compiles a BPF program against the archive alone, or takes it from
// the cache.
func Program(ctx context.Context, in ProgramInput) (File, error) {
	missing, err := in.Kernel.Missing(bpf.Needed...)
	if err != nil {
		return File{}, err
	}
	if len(missing) > 0 {
		return File{}, hint.New(hint.BuildFailed(fmt.Errorf("a BPF program cannot look into this kernel: it is built without %s", strings.Join(missing, ", "))),
			"leave --bpf out, or use --profile clang or a distribution's kernel")
	}
	key, err := bpf.Key(ctx, in.Target)
	if err != nil {
		return File{}, err
	}
	entry, err := in.Store.Get(ctx, "bpf", cache.KeyOf(key, in.Archive.SHA256), func(ctx context.Context, dir string) ([]string, error) {
		in.Say("bpf", "compiling")
		return []string{bpf.ObjectName}, bpf.Compile(ctx, in.Archive.Path, in.Target, dir, in.Log)
	})
	if _, failed := errors.AsType[*run.Error](err); failed {
		err = hint.BuildFailed(err)
	}
	if err != nil {
		return File{}, err
	}
	in.Say("bpf", "a program is compiled against the headers")
	return Digest(entry.Path(bpf.ObjectName))
}
