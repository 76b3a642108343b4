// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/internal/run"
)

// fakeXZ puts a shell script in the place of xz.
func fakeXZ(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "xz"), "#!/bin/sh\n"+script+"\n")
	if err := os.Chmod(filepath.Join(dir, "xz"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestPackWithBrokenXZ(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"killed half way", "head -c 1000000; kill -9 $$", "writing the archive: xz: signal: killed"},
		{"killed at the end", "cat; kill -9 $$", "compressing: xz: signal: killed"},
		{"fails at once", "echo out of memory >&2; exit 1", "writing the archive: xz: exit status 1"},
		{"ends early", "head -c 1000", "writing the archive"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := tree(t)
			fakeXZ(t, tt.script)
			_, err := packed(t, opts)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if _, ok := errors.AsType[*run.Error](err); !ok && tt.name != "ends early" {
				t.Errorf("%v is no *run.Error", err)
			}
			if names := left(t, opts); len(names) != 0 {
				t.Errorf("left %v", names)
			}
		})
	}
}

func TestPackWithoutXZ(t *testing.T) {
	opts := smallTree(t)
	t.Setenv("PATH", t.TempDir())
	_, err := packed(t, opts)
	if e, ok := errors.AsType[*run.NotFoundError](err); !ok || e.Program != "xz" {
		t.Errorf("error %v, want a *run.NotFoundError", err)
	}
	opts.Compressor = "go"
	if _, err := packed(t, opts); err != nil {
		t.Errorf("the compressor that needs no program: %v", err)
	}
}

func TestPackIsCancelled(t *testing.T) {
	opts := tree(t)
	fakeXZ(t, "sleep 60")
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(200*time.Millisecond, func() { cancel(cause) })
	if err := os.MkdirAll(filepath.Dir(opts.Output), 0o755); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := Pack(ctx, opts); !errors.Is(err, cause) {
		t.Errorf("error %v, want the cause", err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("it took %v to stop", d)
	}
	if names := left(t, opts); len(names) != 0 {
		t.Errorf("left %v", names)
	}
}

// TestPackWithFullDisk runs itself with a limit on file sizes to simulate a
// full disk. The limit applies to every file of this process.
func TestPackWithFullDisk(t *testing.T) {
	const limited = "KHEADERS_TEST_LIMITED"
	if os.Getenv(limited) == "" {
		out, err := run.Cmd{
			Argv: []string{os.Args[0], "-test.run=^TestPackWithFullDisk$", "-test.v"},
			Env:  []string{limited + "=1"},
		}.Output(t.Context())
		if err != nil || !strings.Contains(string(out), "--- PASS: TestPackWithFullDisk") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	opts := smallTree(t)
	opts.Compressor = "go"
	if err := os.MkdirAll(filepath.Dir(opts.Output), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 100, Max: 100}); err != nil {
		t.Fatal(err)
	}
	if _, err := Pack(t.Context(), opts); !errors.Is(err, unix.EFBIG) {
		t.Errorf("error %v, want one of the file's size", err)
	}
	if names := left(t, opts); len(names) != 0 {
		t.Errorf("left %v", names)
	}
}
