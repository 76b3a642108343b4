// SPDX-License-Identifier: BSD-3-Clause

package kmod

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/module/source"
)

// DKMSSource is the directory in [BuildOptions.Dir] that has to hold what
// source.DKMS returns.
const DKMSSource = "kheaders-dkms"

// BuildDKMS builds the module as [Build] does, but through dkms(8), with trees
// of its own in Dir, so that it takes no root and changes nothing on the host.
// The build packs the headers itself. KBUILD_BUILD_TIMESTAMP and
// SOURCE_DATE_EPOCH are what the environment says, as for any other archive.
func BuildDKMS(ctx context.Context, k Kernel, o BuildOptions) error {
	if err := buildDKMS(ctx, k, o); err != nil {
		return fmt.Errorf("building %s with dkms: %w", ModuleFile, err)
	}
	return nil
}

func buildDKMS(ctx context.Context, k Kernel, o BuildOptions) error {
	if err := k.tools(); err != nil {
		return err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	trees := []string{
		"--dkmstree", filepath.Join(dir, "dkms"),
		"--sourcetree", filepath.Join(dir, "src"),
		"--installtree", filepath.Join(dir, "modules"),
	}
	for _, tree := range []string{"dkms", "src", "modules"} {
		if err := os.Mkdir(filepath.Join(dir, tree), 0o755); err != nil {
			return err
		}
	}
	env := slices.DeleteFunc(slices.Clone(environment), func(v string) bool {
		return strings.HasPrefix(v, "KBUILD_BUILD_TIMESTAMP=")
	})
	// Debian's headers name the cross compiler after this alone. Nothing is
	// signed: dkms would do so with a key of this host's, or make one.
	env = append(env, "ARCH="+o.Target.MakeArch, "CROSS_COMPILE="+o.Target.Cross(), "sign_file=/nonexistent")
	name := source.ModuleName + "/" + source.Version
	for _, argv := range [][]string{
		slices.Concat([]string{"dkms", "add"}, trees, []string{filepath.Join(dir, DKMSSource)}),
		slices.Concat([]string{"dkms", "build"}, trees, []string{
			name, "-k", k.Release, "-a", o.Target.Uname,
			"--kernelsourcedir", k.Dir, "-j", strconv.Itoa(max(1, o.Jobs)),
		}),
	} {
		if err := (run.Cmd{Argv: argv, Env: env, Log: o.Log}).Run(ctx); err != nil {
			return explainDKMS(ctx, err, filepath.Join(dir, "dkms", name, "build/make.log"), o.Log)
		}
	}
	built := filepath.Join(dir, "dkms", name, k.Release, o.Target.Uname, "module", ModuleFile)
	ko := filepath.Join(dir, ModuleFile)
	if err := os.Rename(built, ko); err != nil {
		return fmt.Errorf("dkms succeeded without making it: %w", err)
	}
	if k.Compression != "" {
		if err := k.compress(ctx, ko, filepath.Join(dir, k.CompressedFile())); err != nil {
			return fmt.Errorf("compressing it: %w", err)
		}
	}
	return nil
}

// explainDKMS adds what make said to the error of a failed dkms, which keeps it
// in a log of its own. That goes with its directory; our log gets all of it.
func explainDKMS(ctx context.Context, err error, makeLog, log string) error {
	text, readErr := os.ReadFile(makeLog)
	if readErr != nil {
		return err // it did not come to make
	}
	if ctx.Err() != nil {
		return err
	}
	if logErr := (run.Cmd{Argv: []string{"cat", makeLog}, Log: log}).Run(ctx); logErr != nil {
		return fmt.Errorf("%w; keeping what make said: %w", err, logErr)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); strings.Contains(line, "rror:") || strings.HasPrefix(line, "kheaders_pack: ") {
			return fmt.Errorf("%w: %s", err, line)
		}
	}
	return err
}
