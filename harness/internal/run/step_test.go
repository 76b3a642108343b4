// SPDX-License-Identifier: BSD-3-Clause

package run

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slow is a program that says when it has started and when it has ended.
func slow(dir string) []string {
	return sh("echo one; : > " + dir + "/started; sleep 0.5; echo two >&2; : > " + dir + "/ended; exit 3")
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("there is no %s", path)
		}
	}
}

// TestUninterruptible cancels a program that must not be killed.
func TestUninterruptible(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	tracked, hurry := Track(ctx)
	result := make(chan error, 1)
	go func() { result <- Cmd{Argv: slow(dir), Uninterruptible: true}.Run(tracked) }()
	awaitFile(t, filepath.Join(dir, "started"))
	enough := errors.New("enough")
	cancel(enough)
	hurry()
	if _, err := os.Stat(filepath.Join(dir, "ended")); err != nil {
		t.Error("it was not waited for")
	}
	err := <-result
	failed, ok := errors.AsType[*Error](err)
	if !ok || !slices.Equal(failed.Tail, []string{"one", "two"}) || !strings.HasSuffix(err.Error(), "exit status 3") {
		t.Errorf("the error is %v", err)
	}
	if err := (Cmd{Argv: slow(dir), Uninterruptible: true}).Run(ctx); err != enough { //nolint:errorlint // the cause itself
		t.Errorf("after the end the error is %v", err)
	}
}

// TestHurry takes the time to end from a program that ignores that it should.
func TestHurry(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	tracked, hurry := Track(ctx)
	started := newPIDs()
	result := make(chan error, 1)
	go func() {
		result <- Cmd{Argv: sh("trap '' TERM; sleep 600 & echo $!; wait; wait"), Stdout: started}.Run(tracked)
	}()
	child := <-started.ids
	start := time.Now()
	cancel(errors.New("enough"))
	hurry()
	if err := <-result; err == nil {
		t.Error("a killed program is no error")
	}
	if took := time.Since(start); took > grace/2 {
		t.Errorf("it took %v", took)
	}
	gone(t, child, 5*time.Second)
}

// TestUninterruptibleParentDeath kills the parent of such a program, and then
// what a terminal would signal.
func TestUninterruptibleParentDeath(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM} {
		dir := t.TempDir()
		parent := exec.Command(exe, slow(dir)...)
		parent.Env = append(os.Environ(), asParent+"=uninterruptible")
		parent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := parent.Start(); err != nil {
			t.Fatal(err)
		}
		awaitFile(t, filepath.Join(dir, "started"))
		if err := syscall.Kill(-parent.Process.Pid, signal); err != nil {
			t.Error(err)
		}
		if err := parent.Wait(); err == nil {
			t.Error("the parent was not killed")
		}
		if _, err := os.Stat(filepath.Join(dir, "ended")); err == nil {
			t.Error("it ended too early to prove anything")
		}
		awaitFile(t, filepath.Join(dir, "ended"))
	}
}
