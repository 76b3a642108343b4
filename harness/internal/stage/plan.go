// SPDX-License-Identifier: BSD-3-Clause

package stage

import (
	"path"
	"path/filepath"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/bpf"
	"github.com/kheaders/kheaders/harness/internal/kmod"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
	"github.com/kheaders/kheaders/initramfs"
	"github.com/kheaders/kheaders/initramfs/wire"
)

// Contents are what a guest gets in addition to its programs.
type Contents struct {
	Target target.Target
	// Release is what uname -r prints. Version is the kernel's version,
	// which a distribution's release need not contain.
	Release, Version string
	Archive          File
	Carrier          Carrier
	// Program is the compiled BPF program, or no file.
	Program File
	// Drivers are loaded before anything else.
	Drivers []kmod.Driver
	// Allow lists what the kernel may report.
	Allow verdict.Allowlist
	// Thorough has the guest decode the whole archive.
	Thorough bool
	// Limits are the guest's own. The guest gives up a little before the
	// host does, so that it can say where.
	Limits Limits
}

// plan tells the guest what to do and what to expect, and returns the files
// that the guest needs for it.
func (c Contents) plan() (wire.Plan, []initramfs.File) {
	plan := wire.Plan{
		Version:             wire.Version,
		TestBinary:          "/" + initramfs.TestPath,
		DeadlineSeconds:     c.Limits.Deadline.Seconds(),
		TestDeadlineSeconds: c.Limits.Test.Seconds(),
		Expect: wire.Expect{
			SHA256: c.Archive.SHA256, Size: c.Archive.Size, Release: c.Release, Version: c.Version,
			Machine: c.Target.Uname, Thorough: c.Thorough, SysfsTaken: c.Carrier.SysfsTaken,
		},
	}
	for _, a := range c.Allow {
		plan.Expect.Allowed = append(plan.Expect.Allowed, a.Text)
	}
	var files []initramfs.File
	// place puts a file next to the module, if there is a file, and returns
	// its path in the guest.
	place := func(name, source string) string {
		if source == "" {
			return ""
		}
		name = path.Join(path.Dir(initramfs.ModulePath), name)
		files = append(files, initramfs.File{Path: name, Mode: 0o644, Source: source})
		return "/" + name
	}
	carrier := c.Carrier
	plan.Expect.Module = place(path.Base(initramfs.ModulePath), carrier.Module.Path)
	plan.Expect.OwnModule = place("own.ko", carrier.OwnModule)
	plan.Expect.Unsigned = place(kmod.UnsignedFile, carrier.Unsigned)
	plan.Expect.Compressed = place(filepath.Base(carrier.Compressed), carrier.Compressed)
	plan.Expect.BPF = place(bpf.ObjectName, c.Program.Path)
	for _, d := range c.Drivers {
		name := initramfs.DriversPath + "/" + d.Name + ".ko"
		files = append(files, initramfs.File{Path: name, Mode: 0o644, Data: d.Data})
		plan.Drivers = append(plan.Drivers, "/"+name)
	}
	return plan, files
}

// planPath is where the plan goes in the archive.
func planPath() string { return strings.TrimPrefix(wire.PlanPath, "/") }
