// SPDX-License-Identifier: BSD-3-Clause

package kvm

import (
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/u-root/mkuimage/cpio"

	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/tests/kvm/plan"
)

// machine is a machine with a KVM that works.
type machine struct {
	target target.Target
	// packages is where Debian's packages are unpacked, its kernel among them.
	packages string
	// root is the directory that becomes its root.
	root string
}

// run boots the machine, has it run the plan's command, and returns what it
// printed.
func (m machine) run(t *testing.T, p plan.Plan) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(m.packages, "lib/modules/*/modules.builtin"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the packages have the kernels %q, %v", found, err)
	}
	release := filepath.Base(filepath.Dir(found[0]))
	image := m.initramfs(t, filepath.Dir(found[0]), p)

	host := m.target.Host
	console := filepath.Join(p.Results, "machine.log")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx,
		"setpriv", "--pdeathsig", "KILL", "--", m.target.QEMU,
		"-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
		"-machine", host.Machine, "-cpu", host.CPU, "-accel", "tcg", "-smp", "2", "-m", "4096",
		"-kernel", filepath.Join(m.packages, "boot/vmlinuz-"+release), "-initrd", image,
		"-append", "panic=-1 loglevel=6 mitigations=off console="+m.target.Console+" "+strings.Join(m.target.TCGKernelArgs, " "),
		"-chardev", "file,id=console,path="+console, "-serial", "chardev:console",
		"-virtfs", "local,readonly=on,multidevs=remap,security_model=none,mount_tag="+plan.Root+",path="+m.root,
		"-virtfs", "local,security_model=none,mount_tag="+plan.Results+",path="+p.Results,
	).CombinedOutput()
	text, _ := os.ReadFile(console) // without it there is nothing to show
	if err != nil {
		t.Fatalf("QEMU: %v\n%s\nThe console:\n%s", err, out, text)
	}
	return string(text)
}

// initramfs writes the machine's: init, the plan and the drivers. modules is
// where the kernel has these.
func (m machine) initramfs(t *testing.T, modules string, p plan.Plan) string {
	t.Helper()
	drivers := drivers{dir: modules, files: map[string]string{}}
	must(t, filepath.WalkDir(modules, func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".ko" {
			drivers.files[moduleName(path)] = path
		}
		return err
	}))
	names := []string{"9p", "9pnet_virtio", "virtio_pci", "overlay"}
	if kvm := m.target.Host.Module; kvm != "" {
		names = append(names, kvm)
	}
	for _, name := range names {
		drivers.add(t, name)
	}
	program := filepath.Join(t.TempDir(), "init")
	compile(t, m.target, "build", "-o", program, "./tests/kvm/init")

	path := filepath.Join(t.TempDir(), "initramfs.cpio")
	f, err := os.Create(path)
	must(t, err)
	archive := cpio.Newc.Writer(f)
	add := func(name string, data []byte) {
		must(t, archive.WriteRecord(cpio.StaticFile(name, string(data), 0o755)))
	}
	for _, driver := range append(drivers.order, program) {
		data, err := os.ReadFile(driver)
		must(t, err)
		add(filepath.Base(driver), data)
		if driver != program {
			p.Modules = append(p.Modules, filepath.Base(driver))
		}
	}
	text, err := json.Marshal(p)
	must(t, err)
	add(plan.Path, text)
	must(t, archive.WriteRecord(cpio.Directory("dev", 0o755)))
	must(t, archive.WriteRecord(cpio.CharDev("dev/console", 0o600, 5, 1)))
	must(t, cpio.WriteTrailer(archive))
	must(t, f.Close())
	return path
}

// drivers puts a kernel's modules into an order in which they can be loaded.
type drivers struct {
	dir string
	// files are all modules by their names, order those to load.
	files map[string]string
	order []string
}

func (d *drivers) add(t *testing.T, name string) {
	t.Helper()
	path := d.files[name]
	if path == "" {
		t.Fatalf("the kernel in %s has no module %s", d.dir, name)
	}
	if slices.Contains(d.order, path) {
		return
	}
	f, err := elf.Open(path)
	must(t, err)
	defer func() { _ = f.Close() }()
	text, err := f.Section(".modinfo").Data()
	must(t, err)
	for field := range strings.SplitSeq(string(text), "\x00") {
		if needed, ok := strings.CutPrefix(field, "depends="); ok && needed != "" {
			for name := range strings.SplitSeq(needed, ",") {
				d.add(t, moduleName(name))
			}
		}
	}
	d.order = append(d.order, path)
}

// moduleName returns the name of a module in the kernel.
func moduleName(path string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")
}

// aptConf keeps apt's state below a directory of ours, in which no package is
// installed, so that apt fetches everything that a package needs.
const aptConf = `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Architecture "%[2]s";
APT::Architectures "%[2]s";
APT::Install-Recommends "false";
Dir::State "%[1]s";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s";
Acquire::Languages "none";
Debug::NoLocking "true";
`

// unpacked returns a directory with Debian's packages of those names for a
// target, with all that they need. It is kept in the user's cache.
func unpacked(t *testing.T, arch target.Target, packages ...string) string {
	t.Helper()
	user, err := os.UserCacheDir()
	must(t, err)
	dir := filepath.Join(user, "kheaders", "machine", arch.Name)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	apt, partial := t.TempDir(), dir+".partial"
	for _, name := range []string{"lists/partial", "archives/partial"} {
		must(t, os.MkdirAll(filepath.Join(apt, name), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(apt, "status"), nil, 0o644))
	conf := filepath.Join(apt, "apt.conf")
	must(t, os.WriteFile(conf, fmt.Appendf(nil, aptConf, apt, arch.Debian), 0o644))
	output(t, "apt-get", "--config-file="+conf, "--quiet", "update")
	output(t, append([]string{"apt-get", "--config-file=" + conf, "--quiet", "--yes", "--download-only", "install"}, packages...)...)
	debs, err := filepath.Glob(filepath.Join(apt, "archives", "*.deb"))
	must(t, err)
	must(t, os.RemoveAll(partial))
	must(t, os.MkdirAll(partial, 0o755))
	for _, deb := range debs {
		output(t, "dpkg-deb", "--extract", deb, partial)
	}
	must(t, os.Rename(partial, dir))
	return dir
}

// compile runs the go command for a target, in our sources.
func compile(t *testing.T, arch target.Target, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = repo(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// output runs a program and returns what it printed.
func output(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

func repo(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	must(t, err)
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
