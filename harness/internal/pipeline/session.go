// SPDX-License-Identifier: BSD-3-Clause

package pipeline

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/doctor"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/qemu"
	"github.com/kheaders/kheaders/harness/internal/stage"
	"github.com/kheaders/kheaders/harness/report"
)

// Session is one cell with everything that goes into its boot. The results
// directory is the session's until Close, and so is a user's kernel tree.
type Session struct {
	cell *cell
	made made
	from sources
	lock *cache.Lock
}

// Prepare gets the one cell of a configuration ready to boot.
func Prepare(ctx context.Context, c Config) (*Session, error) {
	if len(c.Cells) != 1 {
		return nil, hint.Usage(fmt.Errorf("this is for one machine, and the options name %d", len(c.Cells)), "give --kernel, --arch, --profile and --mode once")
	}
	r, err := newRunner(c)
	if err != nil {
		return nil, err
	}
	// A test run makes this a verdict; here a person waits, so say it at
	// once.
	if err := doctor.Error(r.Missing(ctx, r.Cells...)); err != nil {
		return nil, err
	}
	lock, err := claim(r.Results)
	if err != nil {
		return nil, err
	}
	s, err := r.session(ctx)
	if err != nil {
		lock.Release()
		return nil, Advise(err, r.Cells[0].Target, r.places()...)
	}
	s.lock = lock
	return s, nil
}

func (r *runner) session(ctx context.Context) (*Session, error) {
	from, err := r.fetch(ctx)
	if err != nil {
		return nil, err
	}
	s := &Session{from: from}
	if s.cell, err = r.open(r.Cells[0]); err == nil {
		err = from[r.Cells[0].Spec].err
	}
	if err == nil {
		s.made, err = s.cell.prepare(ctx, from[r.Cells[0].Spec].source)
	}
	if err != nil {
		from.release()
	}
	return s, err
}

// Close gives up the results directory and the kernel tree.
func (s *Session) Close() {
	s.from.release()
	s.lock.Release()
}

// Run boots the cell and returns it with its verdict. It can be called again.
func (s *Session) Run(ctx context.Context) report.Cell {
	m := s.made
	err := s.cell.verify(ctx, &m)
	return s.cell.report(ctx, m, err)
}

// Kernel returns the kernel that is booted.
func (s *Session) Kernel() stage.Built { return s.made.kernel }

// Archive returns the headers of that kernel.
func (s *Session) Archive() stage.File { return s.made.archive }

// Carrier returns what has the headers in it. It may be changed before a run.
func (s *Session) Carrier() *stage.Carrier { return &s.made.carrier }

// Floor boots the same machine and kernel with another initramfs and returns
// the seconds from QEMU's start to its end. With an init that exits at once,
// this is the floor for any verdict.
func (s *Session) Floor(ctx context.Context, image string) (float64, error) {
	exit, err := s.cell.machine(s.made, image).Run(ctx, qemu.Watch{
		Console: io.Discard, Events: io.Discard, Log: io.Discard,
		Silence: DefaultLimits.Deadline, Deadline: DefaultLimits.Deadline,
	})
	if err != nil {
		return 0, err
	}
	if exit.Killed != nil {
		return 0, fmt.Errorf("the machine did not end by itself: %w", exit.Killed)
	}
	if exit.Code != 0 {
		return 0, fmt.Errorf("QEMU ended with code %d", exit.Code)
	}
	return exit.Seconds, nil
}

// Shell returns the command line that boots to u-root's shell on the terminal,
// with the module at /kheaders/kheaders.ko. With gdb, QEMU waits for a debugger
// on port 1234. Whoever becomes QEMU, by execve(2), keeps the results directory.
func (s *Session) Shell(gdb bool) ([]string, error) {
	image, err := s.cell.image(s.made, true)
	if err != nil {
		return nil, err
	}
	machine := s.cell.machine(s.made, image.Path)
	if gdb {
		machine.Args = []string{"-gdb", "tcp::1234", "-S"}
		s.cell.say("gdb", "gdb %s -ex 'target remote :1234'", filepath.Join(s.made.kernel.Dir, "vmlinux"))
	}
	if err := s.lock.Inherit(); err != nil {
		return nil, err
	}
	return machine.ShellCommand()
}
