// SPDX-License-Identifier: BSD-3-Clause

package kmod_test

import (
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kmod"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/module/source"
)

// native returns the host's architecture, because the toy kernel is built with
// the host's own compiler.
func native(t *testing.T) target.Target {
	t.Helper()
	for _, arch := range target.All() {
		if arch.Native() {
			return arch
		}
	}
	t.Fatal("the host is of no architecture that kernels are built for")
	return target.Target{}
}

// write fills a directory below a temporary one.
func write(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// sourceDir renders the module for an archive.
func sourceDir(t *testing.T, archive string) string {
	t.Helper()
	files, err := source.Render(source.Archive{SHA256: digest(archive), Size: int64(len(archive))})
	if err != nil {
		t.Fatal(err)
	}
	files[source.ArchiveName] = []byte(archive)
	dir := t.TempDir()
	write(t, dir, files)
	return dir
}

func options(t *testing.T) kmod.BuildOptions {
	t.Helper()
	return kmod.BuildOptions{
		Target: native(t),
		Dir:    sourceDir(t, archive),
		Log:    filepath.Join(t.TempDir(), "log"),
		Jobs:   2,
	}
}

// toy examines the toy kernel.
func toy(t *testing.T) kmod.Kernel {
	t.Helper()
	k, err := kmod.Examine(filepath.Join("testdata", "kernel"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestBuild(t *testing.T) {
	// None of these may reach the build.
	t.Setenv("MAKEFLAGS", "n")
	t.Setenv("KBUILD_OUTPUT", "/nowhere")
	t.Setenv("KCPPFLAGS", "-DX")
	t.Setenv("KCFLAGS", "-DX")
	t.Setenv("KBUILD_BUILD_USER", "me")
	t.Setenv("LC_ALL", "C.UTF-8")

	o := options(t)
	k := toy(t)
	if err := kmod.Build(t.Context(), k, o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"kheaders.ko"}, k.Files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	relocate := "-fdebug-prefix-map=" + o.Dir + "=."
	want := "ARCH=" + o.Target.MakeArch + "\nCROSS_COMPILE=\nKCFLAGS=" + relocate + "\nKAFLAGS=" + relocate +
		"\nKCPPFLAGS=\nKBUILD_OUTPUT=\nKBUILD_BUILD_USER=kheaders\nLC_ALL=C\n"
	got, err := os.ReadFile(filepath.Join(o.Dir, "variables"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("make's variables (-want +got):\n%s", diff)
	}
	log, err := os.ReadFile(o.Log)
	if err != nil {
		t.Fatal(err)
	}
	if first, _, _ := strings.Cut(string(log), "\n"); !strings.HasPrefix(first, "+ make -C ") || !strings.HasSuffix(first, " -j2 modules") {
		t.Errorf("the log starts with %q", first)
	}

	// Inspect must find what the assembler made of kheaders_data.S.
	info, err := kmod.Inspect(filepath.Join(o.Dir, kmod.ModuleFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := info.Check(kmod.Want{Target: o.Target, Release: "6.12.0-toy", SHA256: digest(archive)}); err != nil {
		t.Error(err)
	}
}

func TestBuildFails(t *testing.T) {
	t.Run("make fails", func(t *testing.T) {
		o := options(t)
		write(t, o.Dir, map[string][]byte{"fail": nil})
		err := kmod.Build(t.Context(), toy(t), o)
		failure, ok := errors.AsType[*run.Error](err)
		if !ok || err.Error() != "building kheaders.ko: make: exit status 2" {
			t.Fatalf("error %v (%T)", err, err)
		}
		if failure.Log != o.Log || !strings.Contains(strings.Join(failure.Tail, "\n"), "error: this cannot be") {
			t.Errorf("log %q, tail %q", failure.Log, failure.Tail)
		}
	})
	t.Run("the archive is cut short", func(t *testing.T) {
		o := options(t)
		write(t, o.Dir, map[string][]byte{source.ArchiveName: []byte(archive[1:])})
		err := kmod.Build(t.Context(), toy(t), o)
		failure, ok := errors.AsType[*run.Error](err)
		if !ok || !strings.Contains(strings.Join(failure.Tail, "\n"), "kheaders_data.tar.xz does not have the size") {
			t.Errorf("error %v (%+v)", err, failure)
		}
	})
	t.Run("make makes nothing", func(t *testing.T) {
		o := options(t)
		write(t, o.Dir, map[string][]byte{"idle": nil})
		if err := kmod.Build(t.Context(), toy(t), o); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %v, want %v", err, os.ErrNotExist)
		}
	})
	t.Run("no make", func(t *testing.T) {
		k, o := toy(t), options(t)
		t.Setenv("PATH", "")
		err := kmod.Build(t.Context(), k, o)
		if missing, ok := errors.AsType[*run.NotFoundError](err); !ok || missing.Program != "make" {
			t.Errorf("error %v (%T)", err, err)
		}
	})
}

// TestBuildForms builds a module that is signed by the kernel's program with
// its key, and compressed so that the kernel can decompress it.
func TestBuildForms(t *testing.T) {
	for suffix, config := range map[string]string{
		".xz": "CONFIG_MODULE_COMPRESS_XZ=y\n", ".zst": "CONFIG_MODULE_COMPRESS_ZSTD=y\n", ".gz": "CONFIG_MODULE_COMPRESS_GZIP=y\n",
	} {
		t.Run(suffix, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "kernel"))); err != nil {
				t.Fatal(err)
			}
			write(t, dir, signing)
			write(t, dir, map[string][]byte{autoConf: []byte(modular + signedConfig + "CONFIG_MODULE_DECOMPRESS=y\n" + config)})
			program := filepath.Join(dir, "scripts/sign-file")
			if err := os.Chmod(program, 0o755); err != nil {
				t.Fatal(err)
			}
			k, err := kmod.Examine(dir)
			if err != nil {
				t.Fatal(err)
			}
			o := options(t)
			if err := kmod.Build(t.Context(), k, o); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"kheaders.ko", "kheaders.unsigned.ko", "kheaders.ko" + suffix}, k.Files()); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			read := func(name string) string {
				t.Helper()
				text, err := os.ReadFile(filepath.Join(o.Dir, name))
				if err != nil {
					t.Fatal(err)
				}
				return string(text)
			}
			signed := read("kheaders.ko")
			want := read("kheaders.unsigned.ko") + "sha256 " + filepath.Join(dir, "certs/signing_key.pem") + " " +
				filepath.Join(dir, "certs/signing_key.x509") + "\n~Module signature appended~\n"
			if signed != want {
				t.Errorf("the signed module ends with %q", signed[max(0, len(signed)-200):])
			}
			var plain io.Reader
			compressed := strings.NewReader(read("kheaders.ko" + suffix))
			switch suffix {
			case ".xz":
				plain, err = xz.NewReader(compressed)
			case ".zst":
				plain, err = zstd.NewReader(compressed)
			case ".gz":
				plain, err = gzip.NewReader(compressed)
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(plain); err != nil || string(got) != signed {
				t.Errorf("decompressing it gives %d bytes, error %v; want the %d of the signed module", len(got), err, len(signed))
			}

			// A missing signature is noticed before any boot.
			wanted := kmod.Want{Target: o.Target, Release: "6.12.0-toy", SHA256: digest(archive), Signed: true}
			for name, want := range map[string]string{"kheaders.ko": "", "kheaders.unsigned.ko": "the module's signature is missing, not as the kernel wants it"} {
				info, err := kmod.Inspect(filepath.Join(o.Dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if err := info.Check(wanted); (err == nil) != (want == "") || err != nil && err.Error() != want {
					t.Errorf("%s: error %v, want %q", name, err, want)
				}
			}
		})
	}
}

const (
	autoConf = "include/config/auto.conf"
	// modular configures a kernel that the module can run on.
	modular      = "CONFIG_MODULES=y\nCONFIG_PROC_FS=y\nCONFIG_MODULE_UNLOAD=y\n"
	signedConfig = "CONFIG_MODULE_SIG_FORCE=y\nCONFIG_MODULE_SIG_HASH=\"sha256\"\nCONFIG_MODULE_SIG_KEY=\"certs/signing_key.pem\"\n"
)

// signing is what a kernel signs modules with.
var signing = map[string][]byte{
	"certs/signing_key.pem":  []byte("key"),
	"certs/signing_key.x509": []byte("certificate"),
	"scripts/sign-file":      []byte("#!/bin/sh\n{ cat \"$4\"; echo \"$1 $2 $3\"; echo '~Module signature appended~'; } > \"$5\"\n"),
}

// files returns the files of a kernel's build, without one of them.
func files(config, without string) map[string][]byte {
	files := map[string][]byte{
		"Makefile": nil, "Module.symvers": nil, autoConf: []byte(config), "include/generated/utsrelease.h": []byte("#define UTS_RELEASE \"6.12.0-toy\"\n"),
	}
	if strings.Contains(config, signedConfig) {
		maps.Copy(files, signing)
	}
	delete(files, without)
	return files
}

func TestExamine(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, files(modular+signedConfig+"CONFIG_IKHEADERS=m\nCONFIG_MODULE_COMPRESS_XZ=y\n", ""))
	write(t, dir, map[string][]byte{"kernel/kheaders.ko": nil})
	k, err := kmod.Examine(dir)
	if err != nil {
		t.Fatal(err)
	}
	// Compressed modules are modprobe's business, unless the kernel
	// decompresses them.
	if k.Release != "6.12.0-toy" || !k.Signed || k.Compression != "" || k.OwnBuiltin || k.OwnModule != filepath.Join(dir, "kernel/kheaders.ko") {
		t.Errorf("Examine = %+v", k)
	}
	if text, err := k.Certificate(); err != nil || text != "certificate" {
		t.Errorf("Certificate = %q, %v", text, err)
	}

	plain := t.TempDir()
	write(t, plain, files(modular+"CONFIG_IKHEADERS=y\n", ""))
	if k, err = kmod.Examine(plain); err != nil {
		t.Fatal(err)
	}
	if k.Signed || k.Compression != "" || !k.OwnBuiltin || k.OwnModule != "" {
		t.Errorf("Examine = %+v", k)
	}
	if text, err := k.Certificate(); err != nil || text != "" {
		t.Errorf("Certificate = %q, %v", text, err)
	}
}

func TestExamineRefuses(t *testing.T) {
	without := func(option string) map[string][]byte {
		return files(strings.Replace(modular, option+"=y\n", "# "+option+"=y\n", 1), "")
	}
	for name, test := range map[string]struct {
		kernel     map[string][]byte
		want, hint string
	}{
		"no kernel":       {files(modular, "Makefile"), "no Makefile", "directory in which the kernel was built"},
		"not configured":  {files(modular, autoConf), "no " + autoConf, "make modules_prepare"},
		"modules missing": {files(modular, "Module.symvers"), "no Module.symvers", "make modules"},
		"no modules":      {without("CONFIG_MODULES"), "without CONFIG_MODULES", "CONFIG_MODULES=y"},
		"no unloading":    {without("CONFIG_MODULE_UNLOAD"), "without CONFIG_MODULE_UNLOAD", "CONFIG_MODULE_UNLOAD=y"},
		"no procfs":       {without("CONFIG_PROC_FS"), "without CONFIG_PROC_FS", "CONFIG_PROC_FS=y"},
		"ours built in":   {files(modular+"CONFIG_IKHEADERS_PROC=y\n", ""), "has /proc/kheaders.tar.xz built in", "no module"},
		"no key":          {files(modular+signedConfig, "certs/signing_key.pem"), "certs/signing_key.pem, which is needed to sign, is missing", "where the kernel was built"},
		"no certificate":  {files(modular+signedConfig, "certs/signing_key.x509"), "certs/signing_key.x509, which is needed to sign, is missing", "where the kernel was built"},
		"no sign-file":    {files(modular+signedConfig, "scripts/sign-file"), "scripts/sign-file, which is needed to sign, is missing", "where the kernel was built"},
	} {
		t.Run(name, func(t *testing.T) {
			kernel := t.TempDir()
			write(t, kernel, test.kernel)
			_, err := kmod.Examine(kernel)
			refused(t, err, test.want, test.hint)
		})
	}
}

func TestBuildRefusesTheDirectory(t *testing.T) {
	for dir, want := range map[string]string{"my module": `because of the " "`, "a,b": `because of the ","`, "a:b": `because of the ":"`} {
		t.Run(dir, func(t *testing.T) {
			err := kmod.Build(t.Context(), toy(t), kmod.BuildOptions{Target: native(t), Dir: filepath.Join(t.TempDir(), dir)})
			refused(t, err, want, "plain name")
		})
	}
}

// refused checks that an error is the user's mistake, in one line, with a hint.
func refused(t *testing.T, err error, want, advice string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("error %v, want one line with %q", err, want)
	}
	if got := hint.Of(err); !hint.IsUsage(err) || !strings.Contains(got, advice) {
		t.Errorf("hint %q, want %q", got, advice)
	}
}
