// SPDX-License-Identifier: BSD-3-Clause

package kernel_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/run"
)

// fakeApt puts a fake apt and dpkg-deb into PATH. The system's lists know the
// package when SYSTEM is set, and are out of date when it is "stale". After we
// update our own lists, they know it when PUBLIC is set. The package contains
// the tarball. fakeApt returns a function that returns the calls so far.
func fakeApt(t *testing.T, tarball string) func() string {
	t.Helper()
	dir := t.TempDir()
	calls := filepath.Join(dir, "calls")
	begin := `case "$*" in *--config-file=*) own=1 ;; esac
echo "$(basename "$0")${own:+ own} $(echo " $*" | sed 's/ --*[^ ]*//g; s/^ //')" >> '` + calls + `'
`
	script(t, dir, "apt-cache", begin+`
knows=$SYSTEM
[ -z "$own" ] || { test -s "${1#--config-file=}" && knows=$PUBLIC; }
[ -n "$knows" ] || { echo "E: No packages found" >&2; exit 100; }
echo "Package: x"`)
	script(t, dir, "apt-get", begin+`
for last; do :; done
case $* in
*update) test -n "$ONLINE" || { echo "E: The repository cannot be reached" >&2; exit 100; }; exit 0 ;;
esac
[ -z "$own" ] && [ "$SYSTEM" = stale ] && { echo "E: 404 Not Found" >&2; exit 100; }
echo deb > "${last}_1.0~x_all.deb"`)
	script(t, dir, "dpkg-deb", begin+`
mkdir -p "$3/usr/src/linux-source-6.99"; cd "$3/usr/src"
case '`+tarball+`' in
*.xz) cp '`+tarball+`' linux-source-6.99.tar.xz ;;
*) cp '`+tarball+`' linux-source-6.99/linux-source-6.99.tar.bz2
	ln -s linux-source-6.99/linux-source-6.99.tar.bz2 linux-source-6.99.tar.bz2 ;;
esac`)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv(run.KeepVariable, "SYSTEM PUBLIC ONLINE")
	return func() string {
		text, err := os.ReadFile(calls)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(text)
	}
}

func TestFetchDebian(t *testing.T) {
	tree := fakeTree(t)
	file := tarball(t, tree, "linux-source-6.99/", filepath.Join(t.TempDir(), "a.tar.xz"))
	const (
		known    = "apt-cache show linux-source-6.99\n"
		download = "apt-get download linux-source-6.99\n"
		update   = "apt-get own update\napt-cache own show linux-source-6.99\n"
	)
	cases := []struct {
		name   string
		env    map[string]string
		calls  string // up to that of dpkg-deb
		err    string
		usage  bool
		report string
	}{
		{name: "system's lists", env: map[string]string{"SYSTEM": "1"}, calls: known + download, report: "running: cd "},
		{name: "no lists", env: map[string]string{"PUBLIC": "1", "ONLINE": "1"}, calls: known + update + "apt-get own download linux-source-6.99\n", report: "apt-get --config-file="},
		{name: "stale lists", env: map[string]string{"SYSTEM": "stale", "PUBLIC": "1", "ONLINE": "1"}, calls: known + download + update + "apt-get own download linux-source-6.99\n", report: "404 Not Found"},
		{name: "no such package", env: map[string]string{"ONLINE": "1"}, calls: known + update, err: "no package linux-source-6.99", usage: true},
		{name: "offline", calls: known + "apt-get own update\n", err: "The repository cannot be reached"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			store := cache.Store{Dir: t.TempDir()}
			calls := fakeApt(t, file)
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			var progress lines
			source, err := kernel.Fetch(t.Context(), store, parse(t, "debian:6.99"), progress.add)
			before, after, _ := strings.Cut(calls(), "dpkg-deb")
			if before != c.calls {
				t.Errorf("the calls are\n%s", before)
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || hint.IsUsage(err) != c.usage || hint.Of(err) == "" {
					t.Errorf("the error is %v, the hint %q", err, hint.Of(err))
				}
				if left := entries(t, store, "source"); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
				return
			}
			if err != nil || after == "" {
				t.Fatal(err)
			}
			sameTree(t, source.Dir, tree)
			if !strings.Contains(progress.String(), c.report) {
				t.Errorf("the progress is\n%s", &progress)
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(source.Dir), "scratch")); !os.IsNotExist(err) {
				t.Errorf("the download is still there (%v)", err)
			}

			// From now on, no program may be called.
			t.Setenv("PATH", "")
			if again := fetch(t, store, "debian:6.99"); again.Dir != source.Dir || again.Key != source.Key {
				t.Errorf("the source was %+v and is %+v", source, again)
			}
		})
	}
}

// TestFetchUbuntu fetches a package with what Ubuntu's contains.
func TestFetchUbuntu(t *testing.T) {
	tree := fakeTree(t)
	fakeApt(t, tarball(t, tree, "linux-source-6.99.0/", filepath.Join(t.TempDir(), "a.tar.bz2")))
	t.Setenv("SYSTEM", "1")
	sameTree(t, fetch(t, cache.Store{Dir: t.TempDir()}, "debian:6.99").Dir, tree)
}

func TestFetchDebianElsewhere(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := kernel.Fetch(t.Context(), cache.Store{Dir: t.TempDir()}, parse(t, "debian:6.12"), nil)
	if e, ok := errors.AsType[*run.NotFoundError](err); !ok || e.Program != "apt-get" || !strings.Contains(hint.Of(err), "tarball") {
		t.Errorf("the error is %v, the hint %q", err, hint.Of(err))
	}
}
