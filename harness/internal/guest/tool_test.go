// SPDX-License-Identifier: BSD-3-Clause

package guest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/guest"
	"github.com/kheaders/kheaders/harness/target"
)

// TestUserSettings compiles the same bytes whatever a user has set for other
// work, with "go env -w" or without.
func TestUserSettings(t *testing.T) {
	b := guest.Builder{Repo: writeTree(t, repo), Log: filepath.Join(t.TempDir(), "log")}
	arch := target.All()[0]
	compile := func() []byte {
		t.Helper()
		p, err := b.Programs(t.Context(), arch, guest.Tests, t.TempDir())
		if err != nil {
			log, _ := os.ReadFile(b.Log)
			t.Fatalf("%v\n%s", err, log)
		}
		text, err := os.ReadFile(p.Tests)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	want := compile()
	settings := map[string]string{
		"GOOS": "plan9", "GOARCH": "arm", "GOAMD64": "v3", "GOARM64": "v9.0", "GOFLAGS": "-mod=vendor", "GOEXPERIMENT": "nosuch",
		"GOTOOLCHAIN": "go1.19", "CGO_ENABLED": "1", "GOFIPS140": "latest", "CC": "/nonexistent",
	}
	file := filepath.Join(t.TempDir(), "env")
	var text string
	for name, value := range settings {
		text += name + "=" + value + "\n"
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOENV", file)
	if !bytes.Equal(compile(), want) {
		t.Error("go env -w changes what is compiled")
	}
	for name, value := range settings {
		t.Setenv(name, value)
	}
	t.Setenv("GOROOT", "/nonexistent")
	if !bytes.Equal(compile(), want) {
		t.Error("the environment changes what is compiled")
	}

	// Where modules come from is up to the user: they may be set in either way.
	for name, value := range settings {
		if err := os.Unsetenv(name); err != nil { // t.Setenv restores it
			t.Fatal(value, err)
		}
	}
	// A variable of whoever runs us would win over the file.
	t.Setenv("GOPROXY", "")
	if err := os.Unsetenv("GOPROXY"); err != nil {
		t.Fatal(err)
	}
	const sum = "h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	for path, text := range map[string]string{
		filepath.Join(b.Repo, "tests/guest/guest_test.go"): "package guest\n\nimport _ \"example.org/m\"\n",
		filepath.Join(b.Repo, "go.mod"):                    repo["go.mod"] + "\nrequire example.org/m v1.0.0\n",
		filepath.Join(b.Repo, "go.sum"):                    "example.org/m v1.0.0 " + sum + "example.org/m v1.0.0/go.mod " + sum,
		file:                                               "GOPROXY=file:///nonexistent/proxy\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.ReadFile(b.Log)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Programs(t.Context(), arch, guest.Tests, t.TempDir())
	if all, readErr := os.ReadFile(b.Log); err == nil || readErr != nil || !bytes.Contains(all[len(log):], []byte("/nonexistent/proxy")) {
		t.Errorf("the user's proxy is not asked: %v, %s", err, all[len(log):])
	}
}
