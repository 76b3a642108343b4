// SPDX-License-Identifier: BSD-3-Clause

package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asParent makes the test binary a parent to be killed. It runs its arguments
// as one program, which is "uninterruptible" if that is its value.
const asParent = "KHEADERS_RUN_PARENT"

func TestMain(m *testing.M) {
	if how := os.Getenv(asParent); how != "" {
		if err := (Cmd{Argv: os.Args[1:], Stdout: os.Stdout, Uninterruptible: how == "uninterruptible"}).Run(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if signal.Ignored(syscall.SIGHUP) {
		// By nohup(1). What we handle is back to its default in what we start.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	os.Exit(m.Run())
}

func sh(script string) []string { return []string{"sh", "-c", script} }

func TestQuote(t *testing.T) {
	tests := []struct {
		argv []string
		want string
	}{
		{nil, ""},
		{[]string{"make", "-j2", "O=/a_b/c-d", "x@y%z+1,2:3"}, "make -j2 O=/a_b/c-d x@y%z+1,2:3"},
		{[]string{"echo", ""}, "echo ''"},
		{[]string{"echo", "two words"}, "echo 'two words'"},
		{[]string{"echo", "it's"}, `echo 'it'\''s'`},
		{[]string{"echo", "'"}, `echo ''\'''`},
		{[]string{"echo", "$HOME", "`id`", `a\b`, `"q"`}, "echo '$HOME' '`id`' 'a\\b' '\"q\"'"},
		{[]string{"echo", "a;b", "*", "~", "#c", "!", "a|b", "(x)", "{a,b}", "<in", "a&"}, "echo 'a;b' '*' '~' '#c' '!' 'a|b' '(x)' '{a,b}' '<in' 'a&'"},
		{[]string{"echo", "two\nlines", "tab\t"}, "echo 'two\nlines' 'tab\t'"},
		{[]string{"echo", "größe"}, "echo 'größe'"},
	}
	for _, tt := range tests {
		got := Quote(tt.argv)
		if got != tt.want {
			t.Errorf("Quote(%q) is %s, want %s", tt.argv, got, tt.want)
		}
		if len(tt.argv) == 0 {
			continue
		}
		// A shell decides: it must see the same arguments.
		out, err := exec.Command("sh", "-c", `for a in `+strings.TrimPrefix(got, tt.argv[0])+`; do printf '%s\0' "$a"; done`).Output()
		if err != nil {
			t.Fatal(err)
		}
		if seen := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); !slices.Equal(seen, tt.argv[1:]) {
			t.Errorf("a shell takes %s for %q", got, seen)
		}
	}
}

func TestOutput(t *testing.T) {
	t.Setenv("KHEADERS_RUN_A", "ours")
	dir := t.TempDir()
	out, err := Cmd{
		Argv:  sh(`pwd; echo "$KHEADERS_RUN_A $KHEADERS_RUN_B"; cat; echo to stderr >&2`),
		Dir:   dir,
		Env:   []string{"KHEADERS_RUN_A=first", "KHEADERS_RUN_B=b", "KHEADERS_RUN_A=last"},
		Stdin: strings.NewReader("input\n"),
	}.Output(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := dir + "\nlast b\ninput\n"; string(out) != want {
		t.Errorf("the output is %q, want %q", out, want)
	}
	out, err = Cmd{Argv: sh("echo half; exit 3")}.Output(t.Context())
	if e, ok := errors.AsType[*Error](err); !ok || string(out) != "half\n" || len(e.Tail) != 0 {
		t.Errorf("the output is %q, the error %v", out, err)
	}
}

func TestError(t *testing.T) {
	dir := t.TempDir()
	err := Cmd{Argv: sh("echo out; echo err >&2; exit 7"), Dir: dir}.Run(t.Context())
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("the error is %v", err)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 7 {
		t.Errorf("the cause is %v", e.Err)
	}
	if got := err.Error(); got != "sh: exit status 7" {
		t.Errorf("the text is %q", got)
	}
	if want := []string{"out", "err"}; !slices.Equal(e.Tail, want) {
		t.Errorf("the tail is %q", e.Tail)
	}
	if want := "cd " + Quote([]string{dir}) + " && sh -c 'echo out; echo err >&2; exit 7'"; e.Command() != want {
		t.Errorf("the command is %s, want %s", e.Command(), want)
	}
	if got := (&Error{Argv: []string{"ls", "a b"}}).Command(); got != "ls 'a b'" {
		t.Errorf("without a directory the command is %s", got)
	}
}

func TestLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	for _, script := range []string{"echo one; echo two >&2", "echo three; exit 1"} {
		err := Cmd{Argv: sh(script), Log: log}.Run(t.Context())
		if e, ok := errors.AsType[*Error](err); ok && e.Log != log {
			t.Errorf("the error's log is %q", e.Log)
		}
	}
	// If standard output goes elsewhere, the log does not have it.
	if _, err := (Cmd{Argv: sh("echo four; echo five >&2"), Log: log}).Output(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	want := "+ sh -c 'echo one; echo two >&2'\none\ntwo\n" +
		"+ sh -c 'echo three; exit 1'\nthree\n" +
		"+ sh -c 'echo four; echo five >&2'\nfive\n"
	if string(text) != want {
		t.Errorf("the log is\n%s\nwant\n%s", text, want)
	}

	ran := filepath.Join(t.TempDir(), "ran")
	for _, log := range []string{"/dev/full", filepath.Join(ran, "no", "directory")} {
		if err := (Cmd{Argv: []string{"touch", ran}, Log: log}).Run(t.Context()); err == nil {
			t.Errorf("a log that cannot be written, %s, is no error", log)
		}
		if _, err := os.Stat(ran); err == nil {
			t.Errorf("with %s as the log the program ran", log)
		}
	}
}

func TestTail(t *testing.T) {
	err := Cmd{Argv: sh("i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done; exit 1")}.Run(t.Context())
	e, ok := errors.AsType[*Error](err)
	if !ok || len(e.Tail) != tailLines || e.Tail[0] != "line 4960" || e.Tail[tailLines-1] != "line 4999" {
		t.Errorf("the tail is %v", err)
	}

	var tail tailBuffer
	if lines := tail.lines(); len(lines) != 0 {
		t.Errorf("the tail of nothing is %q", lines)
	}
	// However much is written, in pieces of any size, memory is bounded and
	// the end is kept.
	for i, size := range []int{1, tailBytes, 3 * tailBytes, 100, 40 * tailBytes} {
		for range 10 {
			piece := append(slices.Repeat([]byte{'x'}, size), fmt.Sprintf("\nend %d\n", i)...)
			if n, err := tail.Write(piece); n != len(piece) || err != nil {
				t.Fatalf("writing %d bytes: %d, %v", len(piece), n, err)
			}
			if len(tail.buf) > 2*tailBytes {
				t.Fatalf("%d bytes are kept after one write of %d", len(tail.buf), size)
			}
			if lines := tail.lines(); lines[len(lines)-1] != fmt.Sprintf("end %d", i) {
				t.Fatalf("the end is %q", lines[len(lines)-1])
			}
		}
	}
	if cap(tail.buf) > 50*tailBytes {
		t.Errorf("the buffer has %d bytes", cap(tail.buf))
	}
}

func TestNotFound(t *testing.T) {
	const program = "kheaders-no-such-program"
	_, lookErr := Look(program)
	log := filepath.Join(t.TempDir(), "log")
	for _, err := range []error{lookErr, Cmd{Argv: []string{program}, Log: log}.Run(t.Context())} {
		e, ok := errors.AsType[*NotFoundError](err)
		if !ok || e.Program != program || err.Error() != program+" is not installed" {
			t.Errorf("the error is %v", err)
		}
	}
	if _, err := os.Stat(log); err == nil {
		t.Error("the missing program has a log")
	}
	if path, err := Look("sh"); err != nil || !filepath.IsAbs(path) {
		t.Errorf("sh is at %q, %v", path, err)
	}
}

// pids reads process ids, one a line, from a script's output.
type pids struct {
	ids  chan int
	rest []byte
}

func newPIDs() *pids { return &pids{ids: make(chan int, 4)} }

func (p *pids) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		line, rest, whole := strings.Cut(string(p.rest), "\n")
		if !whole {
			return len(b), nil
		}
		p.rest = []byte(rest)
		id, err := strconv.Atoi(line)
		if err != nil {
			return 0, err
		}
		p.ids <- id
	}
}

// gone waits until a process has ended, or is a zombie that nobody has waited
// for.
func gone(t *testing.T, pid int, within time.Duration) {
	t.Helper()
	deadline := time.Now().Add(within)
	for running(pid) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Errorf("process %d is still there after %v", pid, within)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func running(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// The state follows the name, which is in parentheses and may contain
	// parentheses itself.
	_, state, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ")
	return !strings.HasPrefix(state, "Z")
}

func TestCancel(t *testing.T) {
	enough := errors.New("enough")
	tests := map[string]struct {
		script string
		// the least and the most time that the end may take
		least, most time.Duration
	}{
		"ends by itself": {"sleep 600 & echo $!; echo $$; wait", 0, grace},
		"ignores SIGTERM": {
			// The grandchild inherits the ignored SIGTERM.
			"trap '' TERM; sleep 600 & echo $!; echo $$; wait", grace, 5 * grace,
		},
		"grandchild ignores SIGTERM": {
			// The shell ends; its child stays, and has our pipe
			// open.
			"(trap '' TERM; exec sleep 600) & echo $!; sleep 0.2; trap 'exit 0' TERM; echo $$; wait", 0, 5 * grace,
		},
		"grandchild ignores SIGTERM, without our pipe": {
			"(trap '' TERM; exec sleep 600) >/dev/null 2>&1 & echo $!; sleep 0.2; trap 'exit 0' TERM; echo $$; wait", 0, 5 * grace,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			started := newPIDs()
			result := make(chan error, 1)
			go func() { result <- Cmd{Argv: sh(tt.script), Stdout: started}.Run(ctx) }()
			child, shell := <-started.ids, <-started.ids
			start := time.Now()
			cancel(enough)
			err := <-result
			took := time.Since(start)
			if err != enough { //nolint:errorlint // the cause itself, not wrapped
				t.Errorf("the error is %v", err)
			}
			if took < tt.least-50*time.Millisecond || took > tt.most {
				t.Errorf("the end took %v", took)
			}
			gone(t, child, 5*time.Second)
			gone(t, shell, 5*time.Second)
		})
	}
}

// TestCancelHeldPipe cancels a program whose child has moved to its own session
// and has our pipe open. It must not hold us up.
func TestCancelHeldPipe(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	started := newPIDs()
	result := make(chan error, 1)
	go func() { result <- Cmd{Argv: sh("setsid sleep 600 & echo $!; wait"), Stdout: started}.Run(ctx) }()
	child := <-started.ids
	defer func() {
		_ = syscall.Kill(child, syscall.SIGKILL)
		gone(t, child, 5*time.Second)
	}()
	for { // until it has moved
		if sid, err := unix.Getsid(child); err != nil || sid == child {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	enough := errors.New("enough")
	cancel(enough)
	select {
	case err := <-result:
		if !errors.Is(err, enough) {
			t.Errorf("the error is %v", err)
		}
	case <-time.After(5 * grace):
		t.Error("the child holds us")
	}
	if !running(child) {
		t.Error("the child has not left")
	}
}

func TestCancelledBefore(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	ran := filepath.Join(t.TempDir(), "ran")
	if err := (Cmd{Argv: []string{"touch", ran}}).Run(ctx); !errors.Is(err, enough) {
		t.Errorf("the error is %v", err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the program ran")
	}
}

// TestParentDeath kills a parent with SIGKILL, and checks that the program that
// it runs dies with it, along with that program's children.
func TestParentDeath(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(exe, sh("(trap '' TERM INT HUP; exec sleep 600) & echo $!; echo $$; wait")...)
	parent.Env = append(os.Environ(), asParent+"=1")
	started := newPIDs()
	parent.Stdout = started
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	child, shell := <-started.ids, <-started.ids
	if !running(child) || !running(shell) {
		t.Fatalf("processes %d and %d are not there to begin with", child, shell)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Wait(); err == nil {
		t.Error("the parent was not killed")
	}
	gone(t, child, 5*time.Second)
	gone(t, shell, 5*time.Second)
}

// TestLeftBehind runs a program that succeeds and leaves a child behind.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	started := newPIDs()
	if err := (Cmd{Argv: sh("sleep 600 >/dev/null 2>&1 & echo $!"), Stdout: started}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone(t, <-started.ids, 5*time.Second)
}
