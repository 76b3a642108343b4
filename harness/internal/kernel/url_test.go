// SPDX-License-Identifier: BSD-3-Clause

package kernel_test

import (
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
)

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
	serve("/wrong.tar.xz", func(w http.ResponseWriter) { write(w, text) })
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

	// The name need not tell the truth.
	sameTree(t, fetch(t, cache.Store{Dir: t.TempDir()}, server.URL+"/wrong.tar.xz#sha256="+digest).Dir, tree)

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
