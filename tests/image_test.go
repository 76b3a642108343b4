// SPDX-License-Identifier: BSD-3-Clause

package tests

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
	"github.com/kheaders/kheaders/module/source"
)

// TestDebianImage61 boots a kernel that Debian built, with a module that was
// built against Debian's headers: by us, and by DKMS, which packs the headers
// without us. Equal digests say that both packed the same bytes. A BPF program
// that was compiled against them must find its way around that kernel.
func TestDebianImage61(t *testing.T) {
	t.Parallel()
	out := test(t, "--kernel", "debian-image:6.1", "--mode", "module", "--mode", "dkms", "--bpf")
	if out.code != 0 {
		t.Fatalf("exit code %d, want 0; it printed:\n%s", out.code, out.output)
	}
	var cells []string
	for _, cell := range out.run.Cells {
		cells = append(cells, cell.Arch+" "+cell.Mode)
		if cell.Verdict != verdict.Pass || !strings.HasPrefix(cell.Release, "6.1.") || !strings.Contains(cell.Release, "-cloud-") {
			t.Errorf("%s %s: %s on %s: %s", cell.Arch, cell.Mode, cell.Verdict, cell.Release, cell.Reason)
		}
		d := cell.Digests
		if len(d.Host) != 64 || d.Host != d.Module || d.Host != d.Guest {
			t.Errorf("%s %s: the archive's digests differ or are missing: %+v", cell.Arch, cell.Mode, d)
		}
		if !slices.ContainsFunc(cell.Tests, func(test verdict.Test) bool {
			return test.Name == "TestHeadersInBPF" && test.Status == verdict.StatusPass
		}) {
			t.Errorf("%s %s: no BPF program has run", cell.Arch, cell.Mode)
		}
		if len(cell.Tests) < 20 {
			t.Errorf("%s %s: only %d tests reported", cell.Arch, cell.Mode, len(cell.Tests))
		}
	}
	if len(cells) != 2*len(target.All()) {
		t.Errorf("cells for %v", cells)
	}
}

// TestDKMSTakesPrecedence uses DKMS to install the module into a tree where the
// kernel already has a kheaders.ko of its own.
func TestDKMSTakesPrecedence(t *testing.T) {
	t.Parallel()
	k := testKernel(t, target.All()[0], "--kernel", "debian-image:6.1")
	release, headers := k.Release, k.Build

	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	modules := filepath.Join(dir, "lib/modules")
	// dkms accepts the root of a user namespace.
	var become []string
	if os.Geteuid() != 0 {
		become = []string{"unshare", "--map-root-user"}
	}
	command := func(argv ...string) string {
		t.Helper()
		argv = append(become[:len(become):len(become)], argv...)
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "sign_file=/nonexistent")
		output, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, output)
		}
		return string(output)
	}
	dkms := func(args ...string) string {
		t.Helper()
		return command(append([]string{
			"dkms", args[0], "--dkmstree", filepath.Join(dir, "dkms"), "--sourcetree", filepath.Join(dir, "src"), "--installtree", modules,
		}, args[1:]...)...)
	}
	own := filepath.Join(modules, release, "kernel/kernel/kheaders.ko")
	for _, name := range []string{filepath.Dir(own), filepath.Join(dir, "dkms"), filepath.Join(dir, "src")} {
		if err := os.MkdirAll(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Any of the kernel's modules can pose as its own kheaders: only the name
	// counts.
	found, err := filepath.Glob(filepath.Join(filepath.Dir(k.Image), "../lib/modules", release, "kernel/drivers/virtio/virtio_ring.ko"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the kernel's modules: %v, %v", found, err)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, data, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"modules.order", "modules.builtin"} {
		if err := os.WriteFile(filepath.Join(modules, release, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	resolve := func() string {
		t.Helper()
		command("depmod", "-b", dir, release)
		return command("modprobe", "-d", dir, "-S", release, "--show-depends", "kheaders")
	}
	if got := resolve(); !strings.Contains(got, "/kernel/kernel/kheaders.ko") {
		t.Fatalf("before, modprobe would do %q", got)
	}

	command(kheaders, "module", "--dkms", "--output", tree)
	name := source.ModuleName + "/" + source.Version
	dkms("add", tree)
	dkms("install", name, "-k", release, "--kernelsourcedir", headers, "--no-depmod")
	if got, want := dkms("status"), ", "+release+", "; !strings.HasPrefix(got, name) || !strings.Contains(got, want) || !strings.Contains(got, ": installed") {
		t.Errorf("dkms status: %q", got)
	}
	if got := resolve(); !strings.Contains(got, "/updates/dkms/kheaders.ko") || strings.Contains(got, "/kernel/kernel/") {
		t.Errorf("modprobe would do %q, want DKMS's module", got)
	}
	if after, err := os.ReadFile(own); err != nil || !bytes.Equal(after, data) {
		t.Errorf("the kernel's own module is not what it was (%v)", err)
	}
}
