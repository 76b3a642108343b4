// SPDX-License-Identifier: BSD-3-Clause

package kernel_test

import (
	"os"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
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
		{"notes.txt", "not a source tarball", ".tar.xz"},
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
		{"https://example.org/linux.zip#sha256=" + digest, "not a source tarball", ".tar.xz"},
		{"https:///linux.tar.xz#sha256=" + digest, "not a valid URL", "a directory"},
		{"https://%zz/#sha256=" + digest, "not a valid URL", "a directory"},
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
	if !hint.IsUsage(err) || !strings.Contains(err.Error(), "is prebuilt") || !strings.Contains(hint.Of(err), "debian:6.1") {
		t.Errorf("a prebuilt kernel: error %v, hint %q", err, hint.Of(err))
	}
}
