// SPDX-License-Identifier: BSD-3-Clause

// Package doctor knows every program and library that kheaders uses, which
// Debian package has it, and how to install what is missing.
package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/internal/toolchain"
	"github.com/kheaders/kheaders/harness/target"
)

// Tool is something that has to be installed.
type Tool struct {
	// Name is the program, the header file of a library, or a file of QEMU's.
	Name string `json:"name"`
	// Package is the Debian package that contains it.
	Package string `json:"package"`
	// For says what it is needed for.
	For string `json:"for"`
	// Only lists the kernel profiles and modes, [BPF] or [Image], that need
	// it, or the tool itself if a source tarball may need it. Empty means that everything does.
	Only []string `json:"only,omitempty"`
	// Path is where it was found, or empty.
	Path string `json:"path,omitempty"`
	// qemu is the QEMU that looks for this file in its own directory. It is
	// empty for anything that is not a file of QEMU's.
	qemu string
}

// What else needs tools of its own, apart from the profiles and modes.
const (
	// BPF is a test with a BPF program.
	BPF = "bpf"
	// Image is a prebuilt kernel, as its distribution ships it.
	Image = "image"
	// DKMS is a module that dkms builds.
	DKMS = "dkms"
)

// Missing reports whether the tool was not found.
func (t Tool) Missing() bool { return t.Path == "" }

// Examine looks for everything that the given targets need.
func Examine(ctx context.Context, targets []target.Target) []Tool {
	// The names are the same for all targets.
	tools := table(targets, toolchain.Clang(ctx, target.Target{}))
	for i := range tools {
		tools[i].Path = tools[i].find()
	}
	return tools
}

// Lookup returns the tool with that name, without looking for it.
func Lookup(name string, t target.Target) (Tool, bool) {
	for _, clang := range []toolchain.Toolchain{toolchain.LLVM(t, toolchain.PackagedLLVM), toolchain.LLVM(t, "")} {
		for _, tool := range table([]target.Target{t}, clang) {
			if tool.Name == name {
				return tool, true
			}
		}
	}
	return Tool{}, false
}

// table lists what the targets need. Where clang is needed, it is this one.
func table(targets []target.Target, clang toolchain.Toolchain) []Tool {
	var objtool []string
	for _, t := range targets {
		if t.Objtool {
			objtool = append(objtool, t.Name)
		}
	}
	tools := []Tool{
		{Name: "go", Package: "golang-go", For: "the guest's programs"},
		{Name: "make", Package: "make", For: "kernels and modules"},
		{Name: "gcc", Package: "gcc", For: "kernels and modules"},
		{Name: "ld", Package: "binutils", For: "kernels and modules"},
		{Name: "stdio.h", Package: "libc6-dev", For: "the kernel's own build tools"},
		{Name: "flex", Package: "flex", For: "the kernel's configuration"},
		{Name: "bison", Package: "bison", For: "the kernel's configuration"},
		{Name: "bc", Package: "bc", For: "kernels"},
		{Name: "perl", Package: "perl", For: "kernels"},
		{Name: "patch", Package: "patch", For: "kernels with the headers built in"},
		{Name: "tar", Package: "tar", For: "kernel sources"},
		{Name: "xz", Package: "xz-utils", For: "kernel sources and archives"},
		{Name: "setpriv", Package: "util-linux", For: "QEMU, so that it ends with us"},
	}
	if len(objtool) > 0 {
		tools = append(tools, Tool{Name: "gelf.h", Package: "libelf-dev", For: "objtool, in " + strings.Join(objtool, " and ") + " kernels"})
	}
	for _, t := range targets {
		if !t.Native() {
			tools = append(tools, Tool{Name: t.CrossPrefix + "gcc", Package: "gcc-" + strings.ReplaceAll(t.Triplet(), "_", "-"), For: t.Name + " kernels and modules"})
		}
		tools = append(tools, Tool{Name: t.QEMU, Package: t.QEMUPackage, For: "booting " + t.Name})
		if t.Firmware != "" {
			tools = append(tools, Tool{Name: t.Firmware, Package: t.FirmwarePackage, For: "booting " + t.Name, qemu: t.QEMU})
		}
	}
	llvm := strings.TrimPrefix(clang.Compiler(), "clang")
	return append(tools,
		Tool{Name: clang.Compiler(), Package: "clang" + llvm, For: "kernels of the clang profile", Only: []string{"clang"}},
		Tool{Name: clang.Linker(), Package: "lld" + llvm, For: "kernels of the clang profile", Only: []string{"clang"}},
		Tool{Name: clang.Archiver(), Package: "llvm" + llvm, For: "kernels of the clang profile", Only: []string{"clang"}},
		Tool{Name: "clang", Package: "clang", For: "a BPF program (--bpf)", Only: []string{BPF}},
		Tool{Name: "bzip2", Package: "bzip2", For: "kernel sources in a .tar.bz2", Only: []string{"bzip2"}},
		Tool{Name: "zstd", Package: "zstd", For: "kernel sources in a .tar.zst", Only: []string{"zstd"}},
		Tool{Name: "lz4", Package: "lz4", For: "kernel sources in a .tar.lz4", Only: []string{"lz4"}},
		Tool{Name: "cpio", Package: "cpio", For: "the kernel's own kheaders", Only: []string{"ikheaders", "ikheaders-m"}},
		Tool{Name: "openssl", Package: "openssl", For: "a key for signed modules", Only: []string{"signed"}},
		Tool{Name: "openssl/evp.h", Package: "libssl-dev", For: "signing modules", Only: []string{"signed"}},
		Tool{Name: "dkms", Package: "dkms", For: "modules for a distribution's kernel", Only: []string{DKMS}},
		Tool{Name: "pahole", Package: "pahole", For: "modules for a distribution's kernel with BTF", Only: []string{DKMS, Image}},
	)
}

// Checks looks for the additional tools that this project's own tests need.
func Checks() []Tool {
	tools := []Tool{{Name: "sparse", Package: "sparse", For: "checking the generated C"}}
	for _, program := range []string{"bzip2", "zstd", "lz4"} {
		tools = append(tools, Tool{Name: program, Package: program, For: "testing kinds of tarballs"})
	}
	for i := range tools {
		tools[i].Path = tools[i].find()
	}
	return tools
}

// Needed returns the tools that the given profiles and modes need, and those
// for [BPF], [Image] and the tools of tarballs if these are given.
func Needed(tools []Tool, uses ...string) []Tool {
	return slices.DeleteFunc(slices.Clone(tools), func(t Tool) bool {
		used := func(only string) bool { return slices.Contains(uses, only) }
		return len(t.Only) > 0 && !slices.ContainsFunc(t.Only, used)
	})
}

// find returns the path of a tool, or nothing.
func (t Tool) find() string {
	var dirs []string
	switch {
	case t.qemu != "":
		if program, err := run.Look(t.qemu); err == nil {
			dirs = append(dirs, filepath.Join(filepath.Dir(program), "../share/qemu"))
		}
		dirs = append(dirs, "/usr/share/qemu")
	case strings.HasSuffix(t.Name, ".h"):
		dirs = []string{"/usr/include"}
	default:
		path, err := run.Look(t.Name)
		if err != nil {
			return ""
		}
		return path
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, t.Name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// Missing returns the tools that were not found.
func Missing(tools []Tool) []Tool {
	return slices.DeleteFunc(slices.Clone(tools), func(t Tool) bool { return !t.Missing() })
}

// Commands returns the commands that install the missing tools on Debian, one
// string each.
func Commands(missing []Tool) []string {
	return []string{
		"apt-get update",
		"apt-get install -y --no-install-recommends " + strings.Join(packages(missing), " "),
	}
}

// packages returns the Debian packages of the tools, sorted.
func packages(tools []Tool) []string {
	var names []string
	for _, t := range tools {
		names = append(names, t.Package)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Hint returns the advice for missing tools, in one line.
func Hint(missing []Tool) string {
	if _, err := run.Look("apt-get"); err != nil {
		return "install with your system's package manager what Debian has in: " + strings.Join(packages(missing), ", ")
	}
	return "sudo sh -c '" + strings.Join(Commands(missing), " && ") + "'"
}

// Error returns the error for a user who lacks tools, or nil if none is
// missing.
func Error(missing []Tool) error {
	if len(missing) == 0 {
		return nil
	}
	var names []string
	for _, t := range missing {
		names = append(names, t.Name)
	}
	verb := "is"
	if len(names) > 1 {
		verb = "are"
	}
	return hint.New(fmt.Errorf("%s %s not installed", strings.Join(names, ", "), verb), Hint(missing))
}

// Install installs the missing tools with apt, either directly as root, or
// through sudo if that asks for no password. If neither is possible, the
// error's hint is the command to run.
func Install(ctx context.Context, missing []Tool, progress func(string)) error {
	if len(missing) == 0 {
		return nil
	}
	advice := Error(missing)
	if _, err := run.Look("apt-get"); err != nil {
		return advice
	}
	var become []string
	if os.Geteuid() != 0 {
		become = []string{"sudo", "-n"}
		if err := (run.Cmd{Argv: []string{"sudo", "-n", "true"}}).Run(ctx); err != nil {
			return advice
		}
	}
	for _, command := range Commands(missing) {
		argv := slices.Concat(become, []string{"env", "DEBIAN_FRONTEND=noninteractive"}, strings.Fields(command))
		progress(run.Quote(argv))
		if err := step(ctx, argv, progress); err != nil {
			return hint.New(fmt.Errorf("installing packages: %w", err), mend(err, Hint(missing)))
		}
		if ctx.Err() != nil {
			return fmt.Errorf("installing packages: %w", context.Cause(ctx))
		}
	}
	return nil
}
