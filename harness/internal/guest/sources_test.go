// SPDX-License-Identifier: BSD-3-Clause

package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/hint"
)

func TestAround(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":             "module " + Module + "\n",
		"a/b/file":           "",
		"other/go.mod":       "module example.org/other\n",
		"other/a/file":       "",
		"nested/go.mod":      "module " + Module + "\n",
		"longer/name/go.mod": "module " + Module + "/tools\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for from, want := range map[string]string{
		"": "", "a": "", "a/b": "", "other/a": "", "nested": "nested", "longer/name": "", "not/there": "",
	} {
		if got := around(filepath.Join(dir, from)); got != filepath.Join(dir, want) {
			t.Errorf("from %q it is %q", from, got)
		}
	}
	for _, none := range []string{t.TempDir(), "github.com/kheaders/kheaders/harness", "/"} {
		if got := around(none); got != "" {
			t.Errorf("from %q it is %q", none, got)
		}
	}
}

// TestFindSources looks from the clone that this test is in, from another, and
// from elsewhere.
func TestFindSources(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "go.mod"), []byte("module "+Module+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, at := range []struct{ dir, want string }{{".", root}, {t.TempDir(), root}, {other, other}} {
		t.Chdir(at.dir)
		if got, err := FindSources(t.Context()); err != nil || got != at.want {
			t.Errorf("in %s it is %q (%v)", at.dir, got, err)
		}
	}
}

// TestDownload asks a fake Go for a version of the sources.
func TestDownload(t *testing.T) {
	tools := t.TempDir()
	script := "#!/bin/sh\ncase $4 in *@v1.0.0) echo '{\"Dir\": \"/found\"}' ;; *) echo '{\"Error\": \"unknown revision\"}'; exit 1 ;; esac\n"
	if err := os.WriteFile(filepath.Join(tools, "go"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", tools+":"+os.Getenv("PATH"))
	for _, c := range []struct{ version, dir, err string }{
		{"v1.0.0", "/found", ""},
		{"v2.0.0", "", "unknown revision"},
		{"", "", "no longer there"},
		{"(devel)", "", "no longer there"},
		{"v0.0.0-20260101000000-0123456789ab+dirty", "", "no longer there"},
	} {
		dir, err := download(t.Context(), c.version)
		if dir != c.dir || (err != nil) != (c.err != "") {
			t.Errorf("%q is in %q: %v", c.version, dir, err)
		}
		if err != nil && (!strings.Contains(err.Error(), c.err) || !hint.IsUsage(err) || !strings.Contains(hint.Of(err), "go install")) {
			t.Errorf("%q: %v (%s)", c.version, err, hint.Of(err))
		}
	}
}
