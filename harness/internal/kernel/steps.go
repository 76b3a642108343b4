// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/internal/snapshot"
	"github.com/kheaders/kheaders/harness/target"
)

// finish builds what is configured. It returns the files that a kernel is useless
// without.
func (b *builder) finish(ctx context.Context, m maker, dir string) ([]string, error) {
	config, err := os.ReadFile(filepath.Join(dir, configName))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if err := m.make(ctx, "-j"+strconv.Itoa(b.Jobs), b.Target.ImageTarget, "modules"); err != nil {
		return nil, diskFull(failed(err), dir)
	}
	after, err := os.ReadFile(filepath.Join(m.object, ".config"))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if string(after) != string(config) {
		return nil, cache.Keep(fmt.Errorf("the build has changed the kernel's configuration: %s/%s and %s/.config differ", dir, configName, m.object))
	}
	return outputs(dir, b.Target), snapshot.SyncFileSystem(dir)
}

// failed keeps the object tree of a make that failed by itself, unless the disk
// is full.
func failed(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*BuildError](err)
	if program, ran := errors.AsType[*run.Error](err); ok && ran && program.Exited() && !causes[0].MatchString(e.Cause) {
		return cache.Keep(err)
	}
	return err
}

// configure writes the object tree's .config and returns it.
func (m maker) configure(ctx context.Context, asked []request, user Configuration) ([]byte, error) {
	path := filepath.Join(m.object, ".config")
	if err := m.make(ctx, "tinyconfig"); err != nil {
		return nil, failed(err)
	}
	base, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if err := os.WriteFile(path, []byte(merge(cmp.Or(user.base(), string(base)), asked)), 0o644); err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	if err := m.make(ctx, "olddefconfig"); err != nil {
		return nil, failed(err)
	}
	config, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if lines := lost(string(config), asked); len(lines) > 0 {
		return nil, cache.Keep(hint.New(&ConfigError{Lost: lines}, path+" has what the kernel made of the request; a symbol's dependencies may be missing in this version"))
	}
	if lines := user.changed(string(config)); len(lines) > 0 {
		m.progress(fmt.Sprintf("%d settings of %s came out differently: %s", len(lines), user.name, strings.Join(lines, "; ")))
	}
	return config, nil
}

// outputs returns the files in dir that a build is useless without.
func outputs(dir string, t target.Target) []string {
	names := []string{configName}
	for _, name := range []string{t.ImagePath, releaseName, ".config", "Makefile", "Module.symvers", "include/generated/autoconf.h"} {
		names = append(names, filepath.Join(objectName, name))
	}
	// Only some configurations have these, but building modules needs them.
	for _, name := range []string{"kernel/kheaders.ko", "certs/signing_key.pem", "certs/signing_key.x509", "scripts/sign-file"} {
		if _, err := os.Stat(filepath.Join(dir, objectName, name)); err == nil {
			names = append(names, filepath.Join(objectName, name))
		}
	}
	return names
}
