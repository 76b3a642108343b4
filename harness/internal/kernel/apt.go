// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
)

// aptConf is read after the system's configuration. It keeps apt's state below
// our own directory, %[1]s, and drops the hooks that a system may run after an
// update: they are not meant for us, and some need root.
const aptConf = `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::State::lists "%[1]s/lists";
Dir::Cache "%[1]s/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
`

// aptArch adds the packages of an architecture other than the system's. None of
// them gets installed, so dpkg need not know about it.
const aptArch = `APT::Architectures "%s";
`

// errNoPackage says that apt knows no such package.
var errNoPackage = errors.New("this system's package sources have no package")

// needDebian fails when one of Debian's tools is missing.
func (f fetcher) needDebian(programs ...string) error {
	for _, program := range programs {
		if _, err := run.Look(program); err != nil {
			return hint.New(fmt.Errorf("kernel %q is fetched and unpacked with Debian's tools: %w", f.spec, err),
				"install "+program+", or on a system without apt name a directory, a tarball or a URL")
		}
	}
	return nil
}

// unpackDeb unpacks a package below dir.
func (f fetcher) unpackDeb(ctx context.Context, deb, dir string) error {
	if err := f.run(ctx, []string{"dpkg-deb", "--extract", deb, dir}, ""); err != nil {
		return fmt.Errorf("unpacking %s: %w", filepath.Base(deb), firstLine(err))
	}
	return nil
}

// apt is apt with one set of package lists.
type apt struct {
	fetcher
	// dir is where downloads go.
	dir string
	// args select the lists; empty means the system's.
	args []string
}

// withApt calls use with the system's package lists, then with lists of our own
// if the system's do not know a package or are out of date. Neither needs root.
// If arch names another architecture, it skips the system's lists, which do not
// cover it. dir gets the downloads and the lists.
func (f fetcher) withApt(ctx context.Context, dir, arch string, use func(apt) error) error {
	if arch == "" {
		err := use(apt{f, dir, nil})
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !errors.Is(err, errNoPackage) {
			f.progress("the package lists may be out of date: " + err.Error())
		}
	}
	own, err := f.ownLists(ctx, dir, arch)
	if err != nil {
		return err
	}
	err = use(own)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil, errors.Is(err, errNoPackage):
		return err
	}
	return hint.New(err, "check the network and the package sources in /etc/apt")
}

// ownLists fetches package lists into dir.
func (f fetcher) ownLists(ctx context.Context, dir, arch string) (apt, error) {
	state := filepath.Join(dir, "apt")
	for _, name := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(state, name), 0o755); err != nil {
			return apt{}, fmt.Errorf("making a directory for apt: %w", err)
		}
	}
	conf := filepath.Join(state, "apt.conf")
	text := fmt.Appendf(nil, aptConf, state)
	if arch != "" {
		text = fmt.Appendf(text, aptArch, arch)
	}
	if err := os.WriteFile(conf, text, 0o644); err != nil {
		return apt{}, fmt.Errorf("writing a configuration for apt: %w", err)
	}
	a := apt{f, dir, []string{"--config-file=" + conf}}
	if err := f.run(ctx, a.argv("apt-get", "--quiet", "update"), dir); err != nil {
		return apt{}, hint.New(fmt.Errorf("fetching Debian's package lists: %w", firstLine(err)), "check the network and the package sources in /etc/apt")
	}
	return a, nil
}

func (a apt) argv(program string, args ...string) []string {
	return slices.Concat([]string{program}, a.args, args)
}

// show returns the fields of the version of a package that apt would install.
// It fails with errNoPackage, or with the context's cause.
func (a apt) show(ctx context.Context, pkg string) (map[string]string, error) {
	out, err := run.Cmd{Argv: a.argv("apt-cache", "--no-all-versions", "show", pkg), Env: plainMessages}.Output(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil || len(out) == 0 {
		return nil, fmt.Errorf("%w %s", errNoPackage, pkg)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(line, ": "); ok && !strings.HasPrefix(line, " ") {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields, nil
}

// download downloads packages, each named as NAME or NAME:ARCHITECTURE, and
// returns their files in the same order.
func (a apt) download(ctx context.Context, packages ...string) ([]string, error) {
	list := strings.Join(packages, ", ")
	// Files left by an earlier attempt would be mistaken for ours.
	old, err := filepath.Glob(filepath.Join(a.dir, "*.deb"))
	if err != nil {
		return nil, err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return nil, fmt.Errorf("clearing the downloads: %w", err)
		}
	}
	if err := a.run(ctx, append(a.argv("apt-get", "--quiet", "download"), packages...), a.dir); err != nil {
		return nil, fmt.Errorf("downloading %s: %w", list, firstLine(err))
	}
	var debs []string
	for _, pkg := range packages {
		name, _, _ := strings.Cut(pkg, ":")
		found, err := filepath.Glob(filepath.Join(a.dir, name+"_*.deb"))
		if err != nil {
			return nil, err
		}
		if len(found) != 1 {
			return nil, fmt.Errorf("downloading %s: apt-get downloaded no file for %s", list, pkg)
		}
		debs = append(debs, found[0])
	}
	return debs, nil
}
