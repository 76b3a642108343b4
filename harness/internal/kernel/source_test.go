// SPDX-License-Identifier: BSD-3-Clause

package kernel_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/run"
)

func TestParseSpecErrors(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("notes.txt", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	digest := strings.Repeat("0", 64)
	cases := []struct{ spec, err, hint string }{
		{"", "empty", "debian:6.12"},
		{"none", "no such directory or file", "a directory"},
		{"6.12", "no such directory or file", "did you mean debian:6.12?"},
		{"notes.txt", "no source tarball", ".tar.xz"},
		{"none.tar.xz", "no such directory or file", "a directory"},
		{"/dev/null", "neither a directory nor a file", "a directory"},
		{"notes.txt/linux", "not a directory", "a directory"},
		{"debian:", "no version", "debian:6.12"},
		{"debian:six", "no version", "debian:6.12"},
		{"debian:6.12;reboot", "no version", "debian:6.12"},
		{"debian:-oX=y", "no version", "debian:6.12"},
		{"debian-image:", "no version", "debian-image:6.1"},
		{"debian-image:bookworm", "no version", "debian-image:6.1"},
		{"fedora:42", `unknown kind of kernel "fedora:"`, "a directory"},
		{"https://example.org/linux.tar.xz", "lacks the digest", "sha256sum"},
		{"https://example.org/linux.tar.xz#sha256=12", "lacks the digest", "sha256sum"},
		{"https://example.org/linux.tar.xz#md5=" + digest, "lacks the digest", "sha256sum"},
		{"https://example.org/linux.zip#sha256=" + digest, "no source tarball", ".tar.xz"},
		{"https:///linux.tar.xz#sha256=" + digest, "no valid URL", "a directory"},
		{"https://%zz/#sha256=" + digest, "no valid URL", "a directory"},
	}
	for _, c := range cases {
		_, err := kernel.ParseSpec(c.spec)
		if err == nil || !strings.Contains(err.Error(), c.err) || !hint.IsUsage(err) || !strings.Contains(hint.Of(err), c.hint) {
			t.Errorf("%q: the error is %v, the hint %q", c.spec, err, hint.Of(err))
		}
	}
	for _, spec := range []string{".", dir, "debian:6.12", "debian:6.8.0", "debian-image:6.1", "https://example.org/linux-6.12.tar.gz?x=1#sha256=" + strings.ToUpper(digest)} {
		if got := parse(t, spec).String(); got != spec {
			t.Errorf("%q became %q", spec, got)
		}
	}
}

func TestFetchDirectory(t *testing.T) {
	store := cache.Store{Dir: t.TempDir()}
	tree := fakeTree(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(tree, link); err != nil {
		t.Fatal(err)
	}
	first := fetch(t, store, tree)
	if first.Dir != tree || first.Version != fakeVersion || first.Key == "" {
		t.Errorf("the source is %+v", first)
	}
	if second := fetch(t, store, link); second.Dir != first.Dir || second.Key != first.Key {
		t.Errorf("through a link, the source is %+v", second)
	}
	if err := os.WriteFile(filepath.Join(tree, "kernel/toy.c"), []byte("edited"), 0o644); err != nil {
		t.Fatal(err)
	}
	if third := fetch(t, store, tree); third.Key == first.Key {
		t.Error("an edit was not seen")
	}
}

func TestFetchDirectoryErrors(t *testing.T) {
	cases := []struct {
		name      string
		change    func(tree string) error
		err, hint string
	}{
		{"empty", os.RemoveAll, "it has no Kbuild", "top directory"},
		{"no Kconfig", func(tree string) error { return os.Remove(filepath.Join(tree, "Kconfig")) }, "it has no Kconfig", "top directory"},
		{"no Makefile", func(tree string) error { return os.Remove(filepath.Join(tree, "Makefile")) }, "it has no Makefile", "top directory"},
		{"other Makefile", func(tree string) error { return os.WriteFile(filepath.Join(tree, "Makefile"), []byte("all:\n"), 0o644) }, "no VERSION", "top directory"},
		{"configured", func(tree string) error { return os.WriteFile(filepath.Join(tree, ".config"), nil, 0o644) }, "a build of its own (.config)", "make mrproper"},
		{"prepared", func(tree string) error { return os.MkdirAll(filepath.Join(tree, "include/config"), 0o755) }, "(include/config)", "make mrproper"},
		{"generated", func(tree string) error {
			return os.MkdirAll(filepath.Join(tree, "arch/arm64/include/generated"), 0o755)
		}, "(arch/arm64/include/generated)", "git worktree"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tree := fakeTree(t)
			if err := c.change(tree); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(tree, 0o755); err != nil {
				t.Fatal(err)
			}
			_, err := kernel.Fetch(t.Context(), cache.Store{Dir: t.TempDir()}, parse(t, tree), nil)
			if err == nil || !strings.Contains(err.Error(), c.err) || !hint.IsUsage(err) || !strings.Contains(hint.Of(err), c.hint) {
				t.Errorf("the error is %v, the hint %q", err, hint.Of(err))
			}
		})
	}
}

// sameTree holds that two directories hold the same files.
func sameTree(t *testing.T, got, want string) {
	t.Helper()
	store := cache.Store{Dir: t.TempDir()}
	if a, b := fetch(t, store, got), fetch(t, store, want); a.Key != b.Key {
		t.Errorf("%s differs from %s", got, want)
	}
}

func TestFetchTarball(t *testing.T) {
	tree := fakeTree(t)
	for _, name := range []string{"a.tar", "a.tar.gz", "a.tgz", "a.tar.xz", "a.txz"} {
		for _, prefix := range []string{"", "linux-6.99/"} {
			t.Run(prefix+name, func(t *testing.T) {
				store := cache.Store{Dir: t.TempDir()}
				file := tarball(t, tree, prefix, filepath.Join(t.TempDir(), name))
				source := fetch(t, store, file)
				sameTree(t, source.Dir, tree)
				if source.Version != fakeVersion {
					t.Errorf("the version is %q", source.Version)
				}

				// The same bytes are unpacked once, whatever their name.
				other := filepath.Join(filepath.Dir(file), "other-"+name)
				if err := os.Rename(file, other); err != nil {
					t.Fatal(err)
				}
				t.Setenv("PATH", "")
				if again := fetch(t, store, other); again.Dir != source.Dir || again.Key != source.Key {
					t.Errorf("the source was %+v and is %+v", source, again)
				}
			})
		}
	}
}

func TestFetchTarballCutShort(t *testing.T) {
	tree := fakeTree(t)
	for _, name := range []string{"a.tar", "a.tar.gz", "a.tar.xz"} {
		whole, err := os.ReadFile(tarball(t, tree, "linux/", filepath.Join(t.TempDir(), name)))
		if err != nil {
			t.Fatal(err)
		}
		cuts := []int{0, 1, 512, len(whole) / 2, len(whole) - 1}
		if name == "a.tar" {
			// Between two members, which tar takes for an end.
			cuts = append(cuts, len(whole)-1024, bytes.Index(whole, []byte("linux/include/")))
		}
		for _, cut := range cuts {
			t.Run(fmt.Sprintf("%s at %d", name, cut), func(t *testing.T) {
				store := cache.Store{Dir: t.TempDir()}
				file := filepath.Join(t.TempDir(), name)
				if err := os.WriteFile(file, whole[:cut], 0o644); err != nil {
					t.Fatal(err)
				}
				source, err := kernel.Fetch(t.Context(), store, parse(t, file), nil)
				if err == nil || !strings.Contains(err.Error(), file) || hint.Of(err) == "" {
					t.Errorf("%+v, %v, hint %q", source, err, hint.Of(err))
				}
				if left := entries(t, store, "source"); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		}
	}
}

func TestFetchTarballOfSomethingElse(t *testing.T) {
	store := cache.Store{Dir: t.TempDir()}
	file := tarball(t, filepath.Join(fakeTree(t), "scripts"), "scripts/", filepath.Join(t.TempDir(), "a.tar.gz"))
	_, err := kernel.Fetch(t.Context(), store, parse(t, file), nil)
	if err == nil || !hint.IsUsage(err) || !strings.Contains(err.Error(), file+": no kernel tree") {
		t.Errorf("the error is %v", err)
	}
	if left := entries(t, store, "source"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFetchTarballWithoutXZ(t *testing.T) {
	file := tarball(t, fakeTree(t), "", filepath.Join(t.TempDir(), "a.tar.xz"))
	t.Setenv("PATH", t.TempDir())
	_, err := kernel.Fetch(t.Context(), cache.Store{Dir: t.TempDir()}, parse(t, file), nil)
	if e, ok := errors.AsType[*run.NotFoundError](err); !ok || e.Program != "xz" {
		t.Errorf("the error is %v", err)
	}
}

func TestCheckProfile(t *testing.T) {
	for _, spec := range []string{"debian:6.1", "debian-image:6.1"} {
		if err := parse(t, spec).CheckProfile(kernel.DefaultProfile); err != nil {
			t.Errorf("%s with the default profile: %v", spec, err)
		}
	}
	if err := parse(t, "debian:6.1").CheckProfile("other"); err != nil {
		t.Errorf("a kernel that is built: %v", err)
	}
	err := parse(t, "debian-image:6.1").CheckProfile("other")
	if !hint.IsUsage(err) || !strings.Contains(err.Error(), "comes built") || !strings.Contains(hint.Of(err), "debian:6.1") {
		t.Errorf("a kernel that comes built: error %v, hint %q", err, hint.Of(err))
	}
}

// fakeApt puts apt and dpkg-deb into the PATH. The system's lists know the
// package when SYSTEM is set, and are out of date when it is "stale"; after an
// update of our own, it is known when PUBLIC is set. The package holds the
// tarball. It returns a function that tells the calls.
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
mkdir -p "$3/usr/src"; cp '`+tarball+`' "$3/usr/src/linux-source-6.99.tar.xz"`)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
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
		calls  string // up to dpkg-deb
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

			// From now on, nobody is asked.
			t.Setenv("PATH", "")
			if again := fetch(t, store, "debian:6.99"); again.Dir != source.Dir || again.Key != source.Key {
				t.Errorf("the source was %+v and is %+v", source, again)
			}
		})
	}
}

func TestFetchDebianElsewhere(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := kernel.Fetch(t.Context(), cache.Store{Dir: t.TempDir()}, parse(t, "debian:6.12"), nil)
	if e, ok := errors.AsType[*run.NotFoundError](err); !ok || e.Program != "apt-get" || !strings.Contains(hint.Of(err), "tarball") {
		t.Errorf("the error is %v, the hint %q", err, hint.Of(err))
	}
}

func TestFetchURL(t *testing.T) {
	tree := fakeTree(t)
	text, err := os.ReadFile(tarball(t, tree, "linux/", filepath.Join(t.TempDir(), "a.tar.gz")))
	if err != nil {
		t.Fatal(err)
	}
	requests := 0
	mux := http.NewServeMux()
	serve := func(pattern string, f func(w http.ResponseWriter)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { requests++; f(w) })
	}
	write := func(w http.ResponseWriter, b []byte) {
		if _, err := w.Write(b); err != nil {
			t.Error(err)
		}
	}
	serve("/whole.tar.gz", func(w http.ResponseWriter) { write(w, text) })
	serve("/other.tar.gz", func(w http.ResponseWriter) { write(w, append([]byte("x"), text...)) })
	serve("/cut.tar.gz", func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		write(w, text[:len(text)/2])
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	sum := sha256.Sum256(text)
	digest := hex.EncodeToString(sum[:])

	for name, want := range map[string]string{"other": "its sha256 is ", "cut": "unexpected EOF", "none": "404"} {
		store := cache.Store{Dir: t.TempDir()}
		_, err := kernel.Fetch(t.Context(), store, parse(t, server.URL+"/"+name+".tar.gz#sha256="+digest), nil)
		if err == nil || !strings.Contains(err.Error(), want) || hint.Of(err) == "" {
			t.Errorf("%s: the error is %v, the hint %q", name, err, hint.Of(err))
		}
		if left := entries(t, store, "source"); len(left) > 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}

	requests = 0
	store := cache.Store{Dir: t.TempDir()}
	spec := server.URL + "/whole.tar.gz?a=b#sha256=" + digest
	var progress lines
	source, err := kernel.Fetch(t.Context(), store, parse(t, spec), progress.add)
	if err != nil {
		t.Fatal(err)
	}
	sameTree(t, source.Dir, tree)
	if !strings.Contains(progress.String(), "downloading "+server.URL+"/whole.tar.gz") {
		t.Errorf("the progress is\n%s", &progress)
	}
	if again := fetch(t, store, spec); again.Dir != source.Dir || again.Key != source.Key || requests != 1 {
		t.Errorf("the source was %+v and is %+v after %d requests", source, again, requests)
	}
}

func TestFetchURLCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		cancel(enough)
		<-release
	}))
	defer server.Close()
	defer close(release)
	_, err := kernel.Fetch(ctx, cache.Store{Dir: t.TempDir()}, parse(t, server.URL+"/a.tar.gz#sha256="+strings.Repeat("0", 64)), nil)
	if !errors.Is(err, enough) {
		t.Errorf("the error is %v", err)
	}
}
