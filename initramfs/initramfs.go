// SPDX-License-Identifier: BSD-3-Clause

// Package initramfs describes the guest's file system. It consists of u-root's
// busybox, which mkuimage builds and which is the same for every run, and a
// second cpio archive with what changes from run to run. The kernel unpacks both,
// in order.
package initramfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/u-root/mkuimage/cpio"
)

// Where things are in the guest. Not in /lib/modules: u-root's init would load
// every module that it finds there.
const (
	// TestPath is the compiled test binary.
	TestPath = "kheaders/guest.test"
	// ModulePath is the module.
	ModulePath = "kheaders/kheaders.ko"
	// DriversPath is the directory with those of the kernel's modules that the
	// agent loads.
	DriversPath = "kheaders/drivers"
)

// The commands behind /init and /bin/uinit, which init starts first. Both are in
// one program, the busybox: under emulation, starting a second program costs more
// than starting the same one again. The agent is also behind /bin/defaultsh,
// which init starts if the first agent dies; it then ends the machine.
const (
	Init  = "init"
	Agent = "agent"
)

// BuildTags are the build tags of the busybox: a shell that edits lines, without
// the terminal library, which takes longer to start than everything else.
const BuildTags = "goshsmall"

// Commands returns the packages of the busybox: init, a shell, and commands to
// look around with.
func Commands() []string {
	var packages []string
	for _, name := range []string{
		"cat", "chmod", "cp", "dd", "dmesg", "echo", "find", "free", "gosh", "grep", "gzip", "head", "hexdump",
		Init, "insmod", "ls", "lsmod", "mkdir", "mount", "ps", "pwd", "rm", "rmmod", "shasum", "shutdown",
		"sleep", "tail", "tar", "uname",
	} {
		packages = append(packages, "github.com/u-root/u-root/cmds/core/"+name)
	}
	return append(packages,
		"github.com/kheaders/kheaders/initramfs/agent",
		"github.com/kheaders/kheaders/initramfs/xzcat")
}

// File is a file of the second archive.
type File struct {
	// Path is where it goes, without a leading slash.
	Path string
	// Mode is its permission bits.
	Mode uint64
	// Source is the file on the host to copy. If it is empty, Data is the
	// content.
	Source string
	Data   []byte
}

// Write writes an initramfs: the base archive, and then one with the files and
// their parent directories. The same files give the same bytes.
func Write(w io.Writer, base string, files []File) (err error) {
	f, err := os.Open(base)
	if err != nil {
		return fmt.Errorf("opening the base initramfs: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := io.Copy(w, f)
	if err != nil {
		return fmt.Errorf("copying %s: %w", base, err)
	}
	// An archive starts at a multiple of four bytes; zeros may fill the gap
	// (Documentation/driver-api/early-userspace/buffer-format.rst).
	if _, err := w.Write(make([]byte, (4-n%4)%4)); err != nil {
		return err
	}
	return writeFiles(w, files)
}

func writeFiles(w io.Writer, files []File) error {
	out := cpio.Newc.Writer(w)
	files = slices.SortedFunc(slices.Values(files), func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	made := map[string]bool{".": true}
	for _, file := range files {
		for _, dir := range parents(file.Path) {
			if made[dir] {
				continue
			}
			made[dir] = true
			if err := out.WriteRecord(cpio.Directory(dir, 0o755)); err != nil {
				return err
			}
		}
		data := file.Data
		if file.Source != "" {
			var err error
			if data, err = os.ReadFile(file.Source); err != nil {
				return err
			}
		}
		if err := out.WriteRecord(cpio.StaticFile(file.Path, string(data), file.Mode)); err != nil {
			return err
		}
	}
	return cpio.WriteTrailer(out)
}

// parents returns the directories above a path, outermost first.
func parents(name string) []string {
	var dirs []string
	for dir := path.Dir(name); dir != "." && dir != "/"; dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs)
	return dirs
}
