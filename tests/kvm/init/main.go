// SPDX-License-Identifier: BSD-3-Clause

// Init is the first program of a machine that has KVM. It loads drivers, lays
// memory over the root that the host lends, so that one can write there, runs
// one command and ends the machine.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/tests/kvm/plan"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("init:", err)
	}
	unix.Sync()
	fmt.Println("init: ending the machine:", unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART))
}

func run() error {
	text, err := os.ReadFile("/" + plan.Path)
	if err != nil {
		return err
	}
	var p plan.Plan
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	for _, path := range p.Modules {
		if err := load("/" + path); err != nil {
			return fmt.Errorf("loading %s: %w", path, err)
		}
	}
	if err := mountAll(p); err != nil {
		return err
	}
	if err := errors.Join(unix.Chroot("/root"), os.Chdir(p.Dir)); err != nil {
		return err
	}
	cmd := exec.Command(p.Argv[0], p.Argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.Env, os.Stdout, os.Stderr
	return cmd.Run()
}

// mountAll makes the command's file system below /root.
func mountAll(p plan.Plan) error {
	const lent = "trans=virtio,version=9p2000.L,msize=1048576"
	for _, m := range []struct {
		source, dir, kind string
		flags             uintptr
		data              string
	}{
		{plan.Root, "/lower", "9p", unix.MS_RDONLY, lent + ",cache=loose"},
		{"tmpfs", "/upper", "tmpfs", 0, "size=75%"},
		{"overlay", "/root", "overlay", 0, "lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work"},
		{"devtmpfs", "/root/dev", "devtmpfs", 0, ""},
		{"devpts", "/root/dev/pts", "devpts", 0, ""},
		{"proc", "/root/proc", "proc", 0, ""},
		{"sysfs", "/root/sys", "sysfs", 0, ""},
		{plan.Results, filepath.Join("/root", p.Results), "9p", 0, lent},
	} {
		if m.kind == "overlay" {
			if err := errors.Join(os.Mkdir("/upper/files", 0o755), os.Mkdir("/upper/work", 0o755)); err != nil {
				return err
			}
		}
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.dir, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", m.source, m.dir, err)
		}
	}
	return nil
}

func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return unix.FinitModule(int(f.Fd()), "", 0)
}
