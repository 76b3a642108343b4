// SPDX-License-Identifier: BSD-3-Clause

package pipeline

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

// TestAdvise checks that the advice is about the place that is full or closed.
func TestAdvise(t *testing.T) {
	t.Setenv("TMPDIR", "/scratch")
	const (
		cache   = "put the cache elsewhere with --cache DIR or XDG_CACHE_HOME"
		results = "put the results elsewhere with --results DIR"
		tmp     = "put temporary files elsewhere with TMPDIR"
	)
	places := Config{Cache: "/home/c", Results: "/home/c/results"}.places()
	at := func(path string, err error) error {
		return fmt.Errorf("keeping the console: %w", &fs.PathError{Op: "write", Path: path, Err: err})
	}
	said := func(line string) error {
		return &run.Error{Argv: []string{"make"}, Tail: []string{"  CC      a.o", line}, Err: errors.New("exit status 2")}
	}
	for _, tt := range []struct {
		name   string
		err    error
		places []Place
		want   string
	}{
		{"cache full", at("/home/c/kernel/x", syscall.ENOSPC), places, "free some space, or " + cache},
		{"results full", at("/home/c/results/console.log", syscall.ENOSPC), places, "free some space, or " + results},
		{"quota", at("/home/c/results/console.log", syscall.EDQUOT), places, "free some space, or " + results},
		{"compiler's temporary file", said("/scratch/ccA.s: No space left on device"), places, "free some space, or " + tmp},
		{"program that names nothing", said("No space left on device"), places, "free some space, or " + cache},
		{"results closed", at("/home/c/results/x", syscall.EACCES), places, "check the permissions there, or " + results},
		{"read-only cache", at("/home/c/x", syscall.EROFS), places, "check the permissions there, or " + cache},
		{"one place", at("out/.x", syscall.ENOSPC), []Place{{"out", "choose another --output FILE"}}, "free some space, or choose another --output FILE"},
		{"no place", at("out/.x", syscall.ENOSPC), nil, "free some space, or write elsewhere"},
		{"advice of its own", hint.New(at("/home/c/x", syscall.EACCES), "ask"), places, "ask"},
		{"something else", at("/home/c/x", syscall.EIO), places, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := hint.Of(Advise(tt.err, target.All()[0], tt.places...)); got != tt.want {
				t.Errorf("the hint is %q, want %q", got, tt.want)
			}
		})
	}
}
