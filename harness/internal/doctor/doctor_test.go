// SPDX-License-Identifier: BSD-3-Clause

package doctor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/target"
)

// asInstaller makes the test binary a program that installs bison, so that
// tests can run it as root and as another user. It prints what a person would
// see.
const asInstaller = "KHEADERS_DOCTOR_INSTALL"

func TestMain(m *testing.M) {
	if os.Getenv(asInstaller) == "" {
		os.Exit(m.Run())
	}
	err := Install(context.Background(), []Tool{{Name: "bison", Package: "bison"}}, func(line string) { fmt.Println("+", line) })
	if err != nil {
		fmt.Printf("error: %v\nhint: %s\n", err, hint.Of(err))
	}
}

// fakes creates a directory of fake programs: their names, and their shell
// scripts.
func fakes(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func names(tools []Tool) []string {
	var list []string
	for _, tool := range tools {
		list = append(list, tool.Name)
	}
	return list
}

func isProgram(tool Tool) bool { return tool.qemu == "" && !strings.HasSuffix(tool.Name, ".h") }

// TestFirmware checks that a QEMU from elsewhere than the system's packages is
// found to have its files next to it.
func TestFirmware(t *testing.T) {
	prefix := filepath.Dir(fakes(t, nil))
	for _, dir := range []string{"bin", "share/qemu"} {
		if err := os.MkdirAll(filepath.Join(prefix, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"bin/qemu-system-toy": 0o755, "share/qemu/toy.rom": 0o644} {
		if err := os.WriteFile(filepath.Join(prefix, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", filepath.Join(prefix, "bin"))
	toy := target.Target{Name: "toy", QEMU: "qemu-system-toy", Firmware: "toy.rom", FirmwarePackage: "toy-data"}
	tool, ok := Lookup("toy.rom", toy)
	if got, want := tool.find(), filepath.Join(prefix, "share/qemu/toy.rom"); !ok || got != want || tool.Package != "toy-data" {
		t.Errorf("%+v is at %q, want %q", tool, got, want)
	}
	if err := os.Remove(filepath.Join(prefix, "share/qemu/toy.rom")); err != nil {
		t.Fatal(err)
	}
	if got := tool.find(); got != "" {
		t.Errorf("there is a %s", got)
	}
	// A target without firmware of its own needs none.
	toy.Firmware = ""
	for _, tool := range Examine(t.Context(), []target.Target{toy}) {
		if tool.Name == "" || tool.Name == "gelf.h" {
			t.Errorf("%+v is needed", tool)
		}
	}
}

func TestExamine(t *testing.T) {
	all := target.All()
	everything := map[string]string{}
	for _, tool := range Examine(t.Context(), all) {
		if tool.Name == "" || tool.Package == "" || tool.For == "" {
			t.Errorf("%+v leaves something out", tool)
		}
		if strings.Contains(tool.Package, "_") {
			t.Errorf("%s is no name of a Debian package", tool.Package)
		}
		if isProgram(tool) {
			everything[tool.Name] = ""
		}
	}

	// Programs are in PATH, headers and QEMU's files in their directories.
	dir := fakes(t, everything)
	t.Setenv("PATH", dir)
	for _, tool := range Examine(t.Context(), all) {
		want := filepath.Join(dir, tool.Name)
		if !isProgram(tool) {
			want = "/usr/include/" + tool.Name
			if tool.qemu != "" {
				want = "/usr/share/qemu/" + tool.Name
			}
			if _, err := os.Stat(want); err != nil {
				want = ""
			}
		}
		if tool.Path != want || tool.Missing() != (want == "") {
			t.Errorf("%s is at %q, want %q", tool.Name, tool.Path, want)
		}
	}

	t.Setenv("PATH", t.TempDir())
	for _, tool := range Examine(t.Context(), all) {
		if !tool.Missing() && isProgram(tool) {
			t.Errorf("%s was found at %s in an empty directory", tool.Name, tool.Path)
		}
	}

	// A profile's own tools are needed only with that profile.
	const profile = "signed"
	with, without := Needed(Examine(t.Context(), all), profile), Needed(Examine(t.Context(), all), "another")
	if got := names(with); !slices.Contains(got, "openssl") || !slices.Contains(got, "make") || slices.Contains(got, "cpio") {
		t.Errorf("profile %s needs %v", profile, got)
	}
	if got := names(without); slices.Contains(got, "openssl") || !slices.Contains(got, "make") {
		t.Errorf("without a profile this is needed: %v", got)
	}

	// Lookup knows a missing tool by name, whichever clang is in use.
	for name, want := range map[string]string{"ld.lld": "lld", "ld.lld-19": "lld-19", "gcc": "gcc"} {
		if tool, ok := Lookup(name, all[0]); !ok || tool.Package != want || !tool.Missing() {
			t.Errorf("%s is %+v", name, tool)
		}
	}
	if tool, ok := Lookup("ld.gold", all[0]); ok {
		t.Errorf("ld.gold is %+v", tool)
	}

	// Each target needs its own QEMU, and a cross compiler unless the host
	// is of the same architecture.
	for _, a := range all {
		got := names(Examine(t.Context(), []target.Target{a}))
		for _, b := range all {
			if want := a.Name == b.Name; slices.Contains(got, b.QEMU) != want {
				t.Errorf("%s needs %s: %v", a.Name, b.QEMU, !want)
			}
			if want := a.Name == b.Name && !a.Native(); slices.Contains(got, b.CrossPrefix+"gcc") != want {
				t.Errorf("%s needs %sgcc: %v", a.Name, b.CrossPrefix, !want)
			}
		}
	}
	foreign := target.Target{Name: "vax", GOARCH: "vax", CrossPrefix: "vax_x-linux-gnu-", QEMU: "q", QEMUPackage: "q"}
	tools := Needed(Examine(t.Context(), []target.Target{foreign}))
	if cross := tools[len(tools)-2]; cross.Name != "vax_x-linux-gnu-gcc" || cross.Package != "gcc-vax-x-linux-gnu" {
		t.Errorf("the cross compiler is %+v", cross)
	}
}

func TestMissing(t *testing.T) {
	tools := []Tool{{Name: "a", Path: "/a"}, {Name: "b"}, {Name: "c", Path: "/c"}, {Name: "d"}}
	if got := names(Missing(tools)); !slices.Equal(got, []string{"b", "d"}) {
		t.Errorf("missing are %q", got)
	}
	if tools[1].Name != "b" || tools[3].Name != "d" {
		t.Errorf("the list was changed: %v", tools)
	}
	if got := Missing(tools[:1]); len(got) != 0 {
		t.Errorf("missing are %v", got)
	}
}

func TestError(t *testing.T) {
	ld, gcc, flex := Tool{Name: "ld", Package: "binutils"}, Tool{Name: "gcc", Package: "gcc"}, Tool{Name: "flex", Package: "flex"}
	objdump := Tool{Name: "objdump", Package: "binutils"}
	const install = "sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends %s'"
	for _, tt := range []struct {
		missing    []Tool
		text, hint string
	}{
		{[]Tool{flex}, "flex is not installed", fmt.Sprintf(install, "flex")},
		{[]Tool{ld, gcc}, "ld, gcc are not installed", fmt.Sprintf(install, "binutils gcc")},
		{[]Tool{objdump, flex, ld}, "objdump, flex, ld are not installed", fmt.Sprintf(install, "binutils flex")},
	} {
		err := Error(tt.missing)
		if err == nil || err.Error() != tt.text || hint.Of(err) != tt.hint || hint.IsUsage(err) {
			t.Errorf("the error is %v, the hint %q, want %q and %q", err, hint.Of(err), tt.text, tt.hint)
		}
	}
	if err := Error(nil); err != nil {
		t.Errorf("with nothing missing the error is %v", err)
	}
}

func TestCommands(t *testing.T) {
	got := Commands([]Tool{{Package: "b"}, {Package: "a"}, {Package: "b"}})
	want := []string{"apt-get update", "apt-get install -y --no-install-recommends a b"}
	if !slices.Equal(got, want) {
		t.Errorf("the commands are %q", got)
	}
}

// install runs Install in a process of its own, with nothing but the fakes in
// PATH, and returns its output and the calls that the fakes noted.
func install(t *testing.T, root bool, scripts map[string]string) (output, calls string) {
	t.Helper()
	// The other user must have access to the binary and the notes.
	base := t.TempDir()
	if err := os.Chmod(filepath.Dir(base), 0o755); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(base, "installer")
	if err := os.WriteFile(program, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	notes := filepath.Join(base, "notes")
	if err := os.WriteFile(notes, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(notes, 0o666); err != nil { // whatever the umask
		t.Fatal(err)
	}
	for name, script := range scripts {
		scripts[name] = `echo "` + name + ` $*" >> ` + notes + "\n" + script
	}
	cmd := exec.Command(program)
	cmd.Dir = base
	// Without GORACE, the race detector makes it sleep for a second.
	cmd.Env = []string{asInstaller + "=1", "PATH=" + fakes(t, scripts), "GORACE=atexit_sleep_ms=0"}
	if !root && os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	return string(out), string(text)
}

func TestInstall(t *testing.T) {
	const (
		// The commands that these fakes run are in PATH.
		env     = `shift; PATH=$PATH:/usr/bin:/bin; exec "$@"`
		sudo    = `shift; exec "$@"`
		update  = "apt-get update\n"
		bison   = "apt-get install -y --no-install-recommends bison\n"
		setting = "env DEBIAN_FRONTEND=noninteractive "
		advice  = "hint: sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends bison'\n"
	)
	tests := []struct {
		name          string
		root          bool
		scripts       map[string]string
		output, calls string
	}{
		{
			"root", true,
			map[string]string{"apt-get": "exit 0", "env": env},
			"+ env DEBIAN_FRONTEND=noninteractive " + update + "+ env DEBIAN_FRONTEND=noninteractive " + bison,
			setting + update + update + setting + bison + bison,
		},
		{
			"root, apt fails", true,
			map[string]string{"apt-get": `case $1 in install) echo no such package >&2; exit 100 ;; esac`, "env": env},
			"+ env DEBIAN_FRONTEND=noninteractive " + update + "+ env DEBIAN_FRONTEND=noninteractive " + bison +
				"error: installing packages: env: exit status 100\n" + advice,
			setting + update + update + setting + bison + bison,
		},
		{
			"root, dpkg was interrupted", true,
			map[string]string{"apt-get": `echo "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem."; exit 100`, "env": env},
			"+ env DEBIAN_FRONTEND=noninteractive " + update + "error: installing packages: env: exit status 100\n" +
				strings.Replace(advice, "sudo", "sudo dpkg --configure -a && sudo", 1),
			setting + update + update,
		},
		{
			"root, apt is busy", true,
			map[string]string{"apt-get": `echo "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1 (apt-get)"; exit 100`, "env": env},
			"+ env DEBIAN_FRONTEND=noninteractive " + update + "error: installing packages: env: exit status 100\n" +
				strings.Replace(advice, "sudo", "wait until the other package manager has finished, and then: sudo", 1),
			setting + update + update,
		},
		{
			"sudo", false,
			map[string]string{"apt-get": "exit 0", "env": env, "sudo": sudo, "true": "exit 0"},
			"+ sudo -n env DEBIAN_FRONTEND=noninteractive " + update + "+ sudo -n env DEBIAN_FRONTEND=noninteractive " + bison,
			"sudo -n true\ntrue \n" + "sudo -n " + setting + update + setting + update + update + "sudo -n " + setting + bison + setting + bison + bison,
		},
		{
			"sudo asks for a password", false,
			map[string]string{"apt-get": "exit 0", "env": env, "sudo": "exit 1"},
			"error: bison is not installed\n" + advice, "sudo -n true\n",
		},
		{
			"no sudo", false,
			map[string]string{"apt-get": "exit 0", "env": env},
			"error: bison is not installed\n" + advice, "",
		},
		{
			"no apt", false,
			map[string]string{"sudo": sudo},
			"error: bison is not installed\nhint: install with your system's package manager what Debian has in: bison\n", "",
		},
	}
	for _, tt := range tests {
		if tt.root && os.Geteuid() != 0 {
			continue // only root can become root here
		}
		t.Run(tt.name, func(t *testing.T) {
			output, calls := install(t, tt.root, tt.scripts)
			if output != tt.output {
				t.Errorf("it says\n%swant\n%s", output, tt.output)
			}
			if calls != tt.calls {
				t.Errorf("the calls are\n%swant\n%s", calls, tt.calls)
			}
		})
	}
}

func TestInstallNothing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := Install(t.Context(), nil, func(line string) { t.Error(line) }); err != nil {
		t.Error(err)
	}
}
