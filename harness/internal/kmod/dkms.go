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

// DKMSSource is the directory in [BuildOptions.Dir] that must contain what
// source.DKMS returns.
const DKMSSource = "kheaders-dkms"

// BuildDKMS builds the module as [Build] does, but through dkms(8). It keeps
// dkms's trees in Dir, so that it needs no root and changes nothing on the
// host. The build packs the headers itself. KBUILD_BUILD_TIMESTAMP and
// SOURCE_DATE_EPOCH come from the environment, as for any other archive.
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
	// ARCH and CROSS_COMPILE: Debian's headers take the name of the cross
	// compiler from nowhere else. sign_file: dkms must not sign, because it
	// would use a key of this host, or make one.
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

// explainDKMS adds make's message to the error of a failed dkms. dkms keeps
// make's output in a log of its own, which disappears with its directory, so
// explainDKMS also appends it all to our log.
func explainDKMS(ctx context.Context, err error, makeLog, log string) error {
	text, readErr := os.ReadFile(makeLog)
	if readErr != nil {
		return err // dkms failed before it ran make
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
