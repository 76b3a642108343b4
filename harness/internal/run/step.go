// SPDX-License-Identifier: BSD-3-Clause

package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// impatience is how someone who waits for programs hurries them. It is the value
// of a context under its own type.
type impatience struct {
	// steps is held by programs that must not be killed.
	steps sync.RWMutex
	// grace ends when the others get no more time.
	grace context.Context
}

// Track returns a context for [Cmd.Run], and a function to call before the
// process ends itself. If the context is cancelled, that function has all
// programs in it killed at once, waits for the uninterruptible ones, and lets
// none start.
func Track(ctx context.Context) (tracked context.Context, hurry func()) {
	grace, end := context.WithCancel(context.Background())
	i := &impatience{grace: grace}
	return context.WithValue(ctx, impatience{}, i), func() {
		end()
		i.steps.Lock()
	}
}

// onHurry calls f when the programs in a context are hurried, unless stop is
// called first.
func onHurry(ctx context.Context, f func()) (stop func() bool) {
	if i, ok := ctx.Value(impatience{}).(*impatience); ok {
		return context.AfterFunc(i.grace, f)
	}
	return func() bool { return true }
}

// toTheEnd runs a program that must not be killed. Ctrl-C in a terminal does
// not reach it, because it has its own process group, and nothing ends it when
// we do. Even then it can write its output, which goes into a file until the
// program has ended.
func toTheEnd(ctx context.Context, cmd *exec.Cmd, output io.Writer) (err error) {
	if i, ok := ctx.Value(impatience{}).(*impatience); ok {
		i.steps.RLock()
		defer i.steps.RUnlock()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	kept, err := os.CreateTemp("", "kheaders-*.log")
	if err != nil {
		return fmt.Errorf("keeping its output: %w", err)
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	if err := os.Remove(kept.Name()); err != nil {
		return fmt.Errorf("keeping its output: %w", err)
	}
	cmd.Stdout, cmd.Stderr = kept, kept
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Run()
	if _, seekErr := kept.Seek(0, io.SeekStart); seekErr != nil {
		return errors.Join(err, seekErr)
	}
	if _, copyErr := io.Copy(output, kept); copyErr != nil {
		return errors.Join(err, fmt.Errorf("taking its output: %w", copyErr))
	}
	return err
}
