// SPDX-License-Identifier: BSD-3-Clause

// Package run starts other programs. It is the only package that does, except
// for QEMU, which vmtest starts for harness/internal/qemu.
package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// grace is how long a cancelled program may take to end after SIGTERM before
// its process group is killed. Ctrl-C should end everything within two seconds.
const grace = time.Second

// guard is the /bin/sh script that a program's process group starts as. It
// leaves a watcher in the group and then becomes the program. The watcher reads
// from the pipe at descriptor 3; when we end, for whatever reason, so does the
// read, and the watcher kills the group. The kernel would signal the program
// when we die, but not its children.
const guard = `(trap "" HUP INT TERM; read -r _ <&3; kill -KILL 0) <&- >/dev/null 2>&1 & exec "$@" 3<&-`

// tailLines is how many lines at the end of the output an [Error] keeps.
const tailLines = 40

// Cmd is a program to run. It runs in its own process group, which ends when
// the program ends, or when we do, whatever ends us, unless it must not.
type Cmd struct {
	// Argv is the program and its arguments.
	Argv []string
	// Dir is its working directory; empty means ours.
	Dir string
	// Env is added to our [Environment]; later entries win.
	Env []string
	// Stdin is its input; nil means none.
	Stdin io.Reader
	// Stdout receives its standard output; nil sends it where errors go.
	Stdout io.Writer
	// Log is a file to which the command line and the output are appended.
	// If it is empty, only the tail is kept, for the error.
	Log string
	// Uninterruptible is for a program that changes the system: it runs to
	// its end, whatever happens to us or to the context. Its output, with
	// nothing to Stdout, arrives when it has ended.
	Uninterruptible bool
}

// Error is the failure of a program.
type Error struct {
	// Argv is the program and its arguments.
	Argv []string
	// Dir is where it ran.
	Dir string
	// Log is the file with the whole output, or empty.
	Log string
	// Tail is the end of its output, at most 40 lines.
	Tail []string
	// Err is the error from os/exec, or the context's cause.
	Err error
}

// Error says in one line which program failed and how.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %v", e.Argv[0], e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Exited reports whether the program ended by itself, and not by a signal.
func (e *Error) Exited() bool {
	exit, ok := errors.AsType[*exec.ExitError](e.Err)
	return ok && exit.Exited()
}

// Command returns the command line, quoted for a shell.
func (e *Error) Command() string {
	line := Quote(e.Argv)
	if e.Dir != "" {
		line = "cd " + Quote([]string{e.Dir}) + " && " + line
	}
	return line
}

// DiskFull reports whether err means that there was no room to write to, either
// for us or for a program that said so.
func DiskFull(err error) bool {
	program, ran := errors.AsType[*Error](err)
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, full) || ran && slices.ContainsFunc(program.Tail, func(line string) bool {
			return strings.Contains(strings.ToLower(line), full.Error())
		}) {
			return true
		}
	}
	return false
}

// NotFoundError says that a program is not installed.
type NotFoundError struct {
	// Program is its name.
	Program string
}

// Error names the missing program.
func (e *NotFoundError) Error() string { return e.Program + " is not installed" }

// Look returns the path of a program, or a [NotFoundError].
func Look(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", &NotFoundError{Program: program}
	}
	return path, nil
}

// Run runs the program to its end. If ctx ends first, the program's process
// group gets SIGTERM, and SIGKILL a second later, and the error is the
// context's cause. Run kills whatever the program leaves behind in its group. A
// failure is an [*Error], a missing program a [*NotFoundError].
func (c Cmd) Run(ctx context.Context) (err error) {
	path, err := Look(c.Argv[0])
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	tail := &tailBuffer{}
	var sink io.Writer = tail
	if c.Log != "" {
		f, err := os.OpenFile(c.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return fmt.Errorf("opening the log of %s: %w", c.Argv[0], err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if _, err := fmt.Fprintf(f, "+ %s\n", (&Error{Argv: c.Argv, Dir: c.Dir}).Command()); err != nil {
			return fmt.Errorf("writing the log of %s: %w", c.Argv[0], err)
		}
		sink = io.MultiWriter(f, tail)
	}
	if c.Uninterruptible {
		cmd := exec.Command(path, c.Argv[1:]...)
		cmd.Dir, cmd.Env, cmd.Stdin = c.Dir, append(Environment(), c.Env...), c.Stdin
		err := toTheEnd(ctx, cmd, sink)
		if err == nil || errors.Is(err, context.Cause(ctx)) {
			return err
		}
		return c.failure(err, tail)
	}
	return c.guarded(ctx, path, sink, tail)
}

// failure is the error for a program that ended with err.
func (c Cmd) failure(err error, tail *tailBuffer) error {
	return &Error{Argv: c.Argv, Dir: c.Dir, Log: c.Log, Tail: tail.lines(), Err: err}
}

// guarded runs the program so that it ends when ctx or we do.
func (c Cmd) guarded(ctx context.Context, path string, sink io.Writer, tail *tailBuffer) error {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("guarding %s: %w", c.Argv[0], err)
	}
	defer func() { _ = ours.Close() }()
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", guard, c.Argv[0], path}, c.Argv[1:]...)...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Dir = c.Dir
	cmd.Env = append(Environment(), c.Env...)
	cmd.Stdin = c.Stdin
	cmd.Stderr = sink
	cmd.Stdout = sink
	output := &keeper{w: c.Stdout}
	if c.Stdout != nil {
		cmd.Stdout = output
	}
	// Pdeathsig is tied to the thread that forks. Go ends a thread only when
	// a goroutine locked to it returns, which nothing here does.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// While the watcher lives, no other group can get this number.
	signal := func(s syscall.Signal) error { return syscall.Kill(-cmd.Process.Pid, s) }
	kill := func() { _ = signal(syscall.SIGKILL) }
	patience, calm := time.AfterFunc(0, func() {}), func() bool { return true }
	cmd.Cancel = func() error {
		patience, calm = time.AfterFunc(grace, kill), onHurry(ctx, kill)
		return signal(syscall.SIGTERM)
	}
	// A grandchild that has our pipes open must not hold us up.
	cmd.WaitDelay = grace + 2*time.Second

	err = cmd.Start()
	_ = theirs.Close()
	if err == nil {
		err = cmd.Wait()
		patience.Stop()
		calm()
		kill()
	}
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx) // whatever the program said about it
		}
		if output.err != nil {
			// It died because of us: a broken pipe would hide that
			// the disk is full.
			err = fmt.Errorf("taking its output: %w", output.err)
		}
		return c.failure(err, tail)
	}
	return nil
}

// Output runs the program and returns its standard output.
func (c Cmd) Output(ctx context.Context) ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run(ctx)
	return out.Bytes(), err
}

// Quote joins arguments into a line that a shell splits into the same ones.
func Quote(argv []string) string {
	quoted := make([]string, len(argv))
	for i, arg := range argv {
		if arg == "" || strings.ContainsFunc(arg, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-", r)
		}) {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		quoted[i] = arg
	}
	return strings.Join(quoted, " ")
}

// keeper remembers the error of a writer.
type keeper struct {
	w   io.Writer
	err error
}

func (k *keeper) Write(p []byte) (int, error) {
	n, err := k.w.Write(p)
	if err != nil {
		k.err = err
	}
	return n, err
}

// tailBuffer keeps the end of what is written to it, in bounded memory.
type tailBuffer struct{ buf []byte }

const tailBytes = 16 << 10

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*tailBytes {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailBytes:]...)
	}
	return len(p), nil
}

func (t *tailBuffer) lines() []string {
	text := strings.TrimRight(string(t.buf), "\n")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	return lines[max(0, len(lines)-tailLines):]
}
