// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/module/archive"
)

// arch is the architecture of the toy kernel, other is a different one, and
// inArch is where the kernel has the headers of its architecture.
var (
	arch   = target.All()[0]
	other  = target.All()[1]
	inArch = "arch/" + arch.SrcArch + "/include"
)

// tree writes a toy kernel's two trees below a new directory, and returns
// options that pack them.
func tree(t *testing.T) Options {
	t.Helper()
	opts := smallTree(t)
	// More than the pipe to xz can take.
	put(t, filepath.Join(opts.Source, "include/linux/big.h"), strings.Repeat("#define MACRO(a, b) do { a += b; b = a; } while (0) /* something */\n", 1<<16))
	return opts
}

// smallTree is tree without the large header.
func smallTree(t *testing.T) Options {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", "")
	t.Setenv("KBUILD_BUILD_TIMESTAMP", "")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"source/include/linux/kconfig.h":        "/* a comment */\n#define KCONFIG\n",
		"source/" + inArch + "/asm/page.h":      "#define PAGE /* a comment */ 1\n",
		"build/include/generated/autoconf.h":    "#define CONFIG_64BIT 1\n",
		"build/include/generated/utsrelease.h":  "#define UTS_RELEASE \"6.12.1-toy\"\n",
		"build/" + inArch + "/generated/asm.h":  "#include <asm-generic/asm.h>\n",
		"build/" + inArch + "/generated/Kbuild": "no header\n",
	} {
		put(t, filepath.Join(dir, name), text)
	}
	return Options{
		Source: filepath.Join(dir, "source"),
		Build:  filepath.Join(dir, "build"),
		Target: arch,
		Output: filepath.Join(dir, "out", "kheaders.tar.xz"),
	}
}

// grow makes the trees big enough for several blocks of xz.
func grow(t *testing.T, opts Options) {
	t.Helper()
	put(t, filepath.Join(opts.Source, "include/linux/bigger.h"), strings.Repeat(strings.Repeat("x", 1023)+"\n", 18<<10))
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(filepath.Dir(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// packed packs into a directory that contains nothing but the output.
func packed(t *testing.T, opts Options) (Result, error) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(opts.Output), 0o755); err != nil {
		t.Fatal(err)
	}
	return Pack(t.Context(), opts)
}

// left returns what is in the output's directory.
func left(t *testing.T, opts Options) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(opts.Output))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestPack(t *testing.T) {
	for _, name := range append(Compressors(), "") {
		t.Run(name, func(t *testing.T) {
			opts := smallTree(t)
			entries := 5 + 9
			if name == "xz" {
				grow(t, opts)
				entries++
			}
			opts.Compressor = name
			got, err := packed(t, opts)
			if err != nil {
				t.Fatal(err)
			}
			digest, err := cache.Digest(opts.Output)
			if err != nil {
				t.Fatal(err)
			}
			if got.Path != opts.Output || got.Size != digest.Size || got.SHA256 != digest.SHA256 || got.Files+got.Dirs != entries {
				t.Errorf("got %+v, want %+v", got, digest)
			}
			want := name
			if want == "" {
				want = DefaultCompressor
			}
			if got.Compressor != want {
				t.Errorf("compressed with %q, want %q", got.Compressor, want)
			}
			f, err := os.Open(opts.Output)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close() //nolint:errcheck // read only
			info, err := archive.Read(t.Context(), f, archive.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if info.Release != "6.12.1-toy" || info.SHA256 != got.SHA256 || info.TarBytes != got.TarBytes || !info.ModTime.Equal(fixedDate) {
				t.Errorf("got %+v", info)
			}
			if name == "xz" && info.Compression.Blocks != 2 {
				t.Errorf("%d blocks, want 2: the test must cover where they meet", info.Compression.Blocks)
			}
			if names := left(t, opts); len(names) != 1 {
				t.Errorf("left %v", names)
			}
			stat, err := os.Stat(opts.Output)
			if err != nil {
				t.Fatal(err)
			}
			if stat.Mode() != 0o644 {
				t.Errorf("mode %v", stat.Mode())
			}
		})
	}
}

func TestPackRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		edit  func(t *testing.T, o *Options)
		error string // with DIR in place of the trees' directory
		hint  string
	}{
		{"no source", func(_ *testing.T, o *Options) { o.Source = "" }, "the source tree: no directory given", "name the directory of a kernel's source"},
		{"missing source", func(_ *testing.T, o *Options) { o.Source += "/missing" }, "the source tree: stat DIR/source/missing: no such file or directory", "name the directory of a kernel's source"},
		{"source is a file", func(_ *testing.T, o *Options) { o.Source += "/include/linux/kconfig.h" }, "the source tree: DIR/source/include/linux/kconfig.h is not a directory", "name the directory of a kernel's source"},
		{"no kernel tree", func(_ *testing.T, o *Options) { o.Source = filepath.Dir(o.Source) }, "DIR is not a kernel tree: it has no include/linux/kconfig.h", "name the directory of a kernel's source"},
		{"the object tree as source", func(t *testing.T, o *Options) {
			if err := os.Symlink(o.Source, filepath.Join(o.Build, "source")); err != nil {
				t.Fatal(err)
			}
			o.Source, o.Build = o.Build, ""
		}, "DIR/build is not a kernel tree: it has no include/linux/kconfig.h", "name DIR/source as the source tree, and this directory as the object tree"},
		{"a distribution's flavour as source", func(t *testing.T, o *Options) {
			put(t, filepath.Join(o.Build, "Makefile"), "# a comment\ninclude "+o.Source+"/Makefile\n")
			o.Source, o.Build = o.Build, ""
		}, "DIR/build is not a kernel tree: it has no include/linux/kconfig.h", "name DIR/source as the source tree, and this directory as the object tree"},
		{"missing object tree", func(_ *testing.T, o *Options) { o.Build += "/missing" }, "the object tree: stat DIR/build/missing: no such file or directory", "name the directory that was given to make as O="},
		{"not prepared", func(t *testing.T, o *Options) {
			if err := os.RemoveAll(filepath.Join(o.Build, "include")); err != nil {
				t.Fatal(err)
			}
		}, "DIR/build has no include/generated/autoconf.h", "configure that kernel, and run: make prepare ARCH=" + arch.MakeArch + " O=DIR/build"},
		{"not built in the source tree", func(_ *testing.T, o *Options) { o.Build = "" }, "DIR/source has no include/generated/autoconf.h", "configure that kernel, and run: make prepare ARCH=" + arch.MakeArch},
		{"another architecture", func(t *testing.T, o *Options) {
			dir := filepath.Join(o.Build, "arch")
			if err := os.Rename(filepath.Join(dir, arch.SrcArch), filepath.Join(dir, other.SrcArch)); err != nil {
				t.Fatal(err)
			}
		}, "DIR/build is an object tree for " + other.Name + ", not " + arch.Name, "ask for " + other.Name + ", or name another object tree"},
		{"dangling link", func(t *testing.T, o *Options) {
			if err := os.Symlink("missing.h", filepath.Join(o.Source, "include/a.h")); err != nil {
				t.Fatal(err)
			}
		}, "symbolic link DIR/source/include/a.h -> missing.h: lstat DIR/source/include/missing.h: no such file or directory", "remove the link, or name the tree into which it leads"},
		{"compressor", func(_ *testing.T, o *Options) { o.Compressor = "gzip" }, `unknown compressor "gzip"`, "use xz or go"},
		{"no output", func(_ *testing.T, o *Options) { o.Output = "" }, "no output file given", "name the archive to write"},
		{"output is a directory", func(_ *testing.T, o *Options) { o.Output = filepath.Dir(o.Output) }, "the output DIR/out is not a regular file", "name a file"},
		{"output is a device", func(_ *testing.T, o *Options) { o.Output = "/dev/null" }, "the output /dev/null is not a regular file", "name a file"},
		{"no directory for the output", func(_ *testing.T, o *Options) { o.Output = filepath.Join(filepath.Dir(o.Output), "missing", "x") }, "", "create its directory first"},
		{"date", func(t *testing.T, _ *Options) { t.Setenv("SOURCE_DATE_EPOCH", "now") }, `SOURCE_DATE_EPOCH is "now"`, "set it to seconds since 1970, or unset it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := smallTree(t)
			dir := filepath.Dir(opts.Source)
			if err := os.Mkdir(filepath.Dir(opts.Output), 0o755); err != nil {
				t.Fatal(err)
			}
			output := opts
			tt.edit(t, &opts)
			_, err := Pack(t.Context(), opts)
			if err == nil {
				t.Fatal("no error")
			}
			if got := strings.ReplaceAll(err.Error(), dir, "DIR"); got != tt.error && tt.error != "" {
				t.Errorf("error %q, want %q", got, tt.error)
			}
			if got := strings.ReplaceAll(hint.Of(err), dir, "DIR"); got != tt.hint || !hint.IsUsage(err) {
				t.Errorf("hint %q (usage: %v), want %q", got, hint.IsUsage(err), tt.hint)
			}
			if names := left(t, output); len(names) != 0 {
				t.Errorf("left %v", names)
			}
		})
	}
}

func TestKey(t *testing.T) {
	opts := Options{Target: arch}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	t.Setenv("KBUILD_BUILD_TIMESTAMP", "")
	seen := map[string]string{}
	add := func(what string) {
		t.Helper()
		key, err := Key(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Key(t.Context(), opts)
		if err != nil || again != key {
			t.Errorf("%s: key %s, then %s (%v)", what, key, again, err)
		}
		if other := seen[key]; other != "" {
			t.Errorf("%s has the key of %s", what, other)
		}
		seen[key] = what
	}
	add("the default")
	opts.KeepComments = true
	add("with comments")
	opts.Compressor = "go"
	add("in process")
	opts.Target = other
	add("for another architecture")
	t.Setenv("SOURCE_DATE_EPOCH", "5")
	add("with a date")
	opts.Compressor = "xz"
	add("with xz")
	fakeXZ(t, "echo another version")
	add("with another xz")
	fakeXZ(t, "exit 1")
	if _, err := Key(t.Context(), opts); err == nil {
		t.Error("no error when xz fails")
	}
}

// timestamps are the variables in the environment, and the date or error
// expected for them.
var timestamps = []struct{ epoch, kbuild, want string }{
	{"", "", "1980-01-01T00:00:00Z"},
	{"0", "", "1970-01-01T00:00:00Z"},
	{"981173106", "Thu Jan  1 00:00:00 UTC 1970", "2001-02-03T04:05:06Z"},
	{"", "Sat Feb  3 04:05:06 UTC 2001", "2001-02-03T04:05:06Z"},
	{"", "Sat Feb  3 04:05:06 2001", "2001-02-03T04:05:06Z"},
	{"", "Sat Feb  3 04:05:06 AM UTC 2001", "2001-02-03T04:05:06Z"},
	{"", "Sat Feb 13 04:05:06 GMT 2001", "2001-02-13T04:05:06Z"},
	{"", "Sat, 03 Feb 2001 06:05:06 +0200", "2001-02-03T04:05:06Z"},
	{"", "2001-02-03T04:05:06Z", "2001-02-03T04:05:06Z"},
	{"", "2001-02-03T06:05:06+02:00", "2001-02-03T04:05:06Z"},
	{"", "2001-02-03 06:05:06+02:00", "2001-02-03T04:05:06Z"},
	{"", "2001-02-03 04:05:06 UTC", "2001-02-03T04:05:06Z"},
	{"", "2001-02-03 04:05:06", "2001-02-03T04:05:06Z"},
	{"", "2001-02-03", "2001-02-03T00:00:00Z"},
	{"", "Sat Nov 28 12:00:00 CET 2026", "2026-11-28T11:00:00Z"},
	{"", "Sat Feb  3 06:05:06 CEST 2001", "2001-02-03T04:05:06Z"},
	{"", "3 Feb 2001 04:05:06", "2001-02-03T04:05:06Z"},
	{"", "@981173106", "2001-02-03T04:05:06Z"},
	{"now", "", `SOURCE_DATE_EPOCH is "now"`},
	{"-1", "", `SOURCE_DATE_EPOCH is "-1"`},
	{"8589934592", "", `SOURCE_DATE_EPOCH is "8589934592"`},
	{"+1", "", `SOURCE_DATE_EPOCH is "+1"`},
	{"", "Debian 6.1.1-1 (2024-01-01)", `KBUILD_BUILD_TIMESTAMP is "Debian 6.1.1-1 (2024-01-01)", which date -d cannot read`},
	{"", "@x", `KBUILD_BUILD_TIMESTAMP is "@x", which date -d cannot read`},
	{"", "1969-12-31", `KBUILD_BUILD_TIMESTAMP is "1969-12-31"`},
	{"", "2300-01-01", `KBUILD_BUILD_TIMESTAMP is "2300-01-01"`},
}

func TestTimestamp(t *testing.T) {
	t.Setenv("TZ", "America/New_York") // must not matter: it is UTC
	for _, tt := range timestamps {
		t.Setenv("SOURCE_DATE_EPOCH", tt.epoch)
		t.Setenv("KBUILD_BUILD_TIMESTAMP", tt.kbuild)
		got, err := Timestamp(t.Context())
		text := got.Format(time.RFC3339)
		if err != nil {
			text = err.Error()
			if !hint.IsUsage(err) || hint.Of(err) == "" {
				t.Errorf("%+v: %v is no mistake in the input", tt, err)
			}
		}
		if text != tt.want {
			t.Errorf("%q, %q: got %s, want %s", tt.epoch, tt.kbuild, text, tt.want)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Timestamp(t.Context()); err == nil || hint.IsUsage(err) || !strings.Contains(err.Error(), "date is not installed") {
		t.Errorf("without date: %v", err)
	}
}

// TestDistributionPackages packs header packages as Debian and Ubuntu lay them
// out, with the links between their directories.
func TestDistributionPackages(t *testing.T) {
	usr := t.TempDir()
	common, flavour := filepath.Join(usr, "src/linux-headers-common"), filepath.Join(usr, "src/linux-headers-toy")
	put(t, filepath.Join(common, "include/linux/kconfig.h"), "#define KCONFIG\n")
	put(t, filepath.Join(common, "include/acpi/acpi.h"), "#define ACPI\n")
	put(t, filepath.Join(common, inArch+"/asm/page.h"), "#define PAGE\n")
	put(t, filepath.Join(flavour, "include/generated/autoconf.h"), "#define CONFIG_64BIT 1\n")
	put(t, filepath.Join(flavour, inArch+"/generated/a.h"), "#define A\n")
	for link, to := range map[string]string{
		filepath.Join(flavour, "include/acpi"): "../../linux-headers-common/include/acpi",
		filepath.Join(flavour, inArch+"/asm"):  filepath.Join(common, inArch+"/asm"),
		filepath.Join(flavour, "scripts"):      "../../lib/missing",
		filepath.Join(usr, "build"):            "src/linux-headers-toy",
	} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	opts := Options{Source: common, Build: filepath.Join(usr, "build"), Target: arch, Output: filepath.Join(usr, "out.xz"), Compressor: "go"}
	if _, err := Pack(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(opts.Output)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	_, err = archive.Walk(t.Context(), bytes.NewReader(data), archive.Limits{}, func(e archive.Entry, _ io.Reader) error {
		if !e.Dir {
			fmt.Fprintln(&b, e.Name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := inArch + "/asm/page.h\n" + inArch + "/generated/a.h\ninclude/acpi/acpi.h\ninclude/generated/autoconf.h\ninclude/linux/kconfig.h\n"
	if b.String() != want {
		t.Errorf("got %s, want %s", b.String(), want)
	}
}
