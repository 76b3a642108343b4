// SPDX-License-Identifier: BSD-3-Clause

// Package insmod loads and unloads kernel modules, and explains the kernel's
// errors.
package insmod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Error is the kernel's refusal of a module.
type Error struct {
	// Path is the module's file.
	Path string
	// Err is what the system call returned.
	Err error
}

// reasons explains what errors of finit_module(2) mean for our module.
var reasons = map[unix.Errno]string{
	unix.EEXIST:       "the kernel has a module of this name loaded, ours or its own kheaders.ko (CONFIG_IKHEADERS=m): unload that first, with rmmod kheaders",
	unix.EKEYREJECTED: "the kernel loads signed modules only (CONFIG_MODULE_SIG_FORCE, or lockdown), and this one is not signed with a key that it trusts: sign it with the kernel's scripts/sign-file",
	unix.ENOEXEC:      "the module is for another kernel or architecture, or the file is damaged: build it against this kernel",
	unix.EBADMSG:      "the module's signature does not match its content: sign it again, after the last change to it",
	unix.ENOMEM:       "the kernel does not have enough memory for the module, or cannot create its file in /proc",
	unix.EPERM:        "only root may load modules, and nobody when /proc/sys/kernel/modules_disabled is 1",
	unix.EOPNOTSUPP:   "the kernel cannot decompress modules of this kind (CONFIG_MODULE_DECOMPRESS)",
}

// Error returns the kernel's error and what it means.
func (e *Error) Error() string {
	text := fmt.Sprintf("loading %s: %v", e.Path, e.Err)
	if errno, ok := errors.AsType[unix.Errno](e.Err); ok && reasons[errno] != "" {
		text += " (" + reasons[errno] + ")"
	}
	return text
}

// Unwrap returns the kernel's error.
func (e *Error) Unwrap() error { return e.Err }

// Load loads a module with parameters, such as "sysfs=0". The kernel decompresses
// the file itself if its name says that it is compressed. If the kernel refuses
// the module, the error is an [*Error].
func Load(path, parameters string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening the module: %w", err)
	}
	defer func() { _ = f.Close() }()
	flags := 0
	switch filepath.Ext(path) {
	case ".gz", ".xz", ".zst":
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	if err := unix.FinitModule(int(f.Fd()), parameters, flags); err != nil {
		return &Error{Path: path, Err: err}
	}
	return nil
}

// Unload unloads a module as rmmod does, and returns the kernel's error.
func Unload(name string) error { return unix.DeleteModule(name, unix.O_NONBLOCK) }
