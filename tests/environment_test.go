// SPDX-License-Identifier: BSD-3-Clause

package tests

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/kheaders/kheaders/harness/target"
)

// hurtful makes TestHurtfulEnvironment run.
var hurtful = flag.Bool("environment", false, "build two kernels from nothing, one of them with an environment full of variables that hurt")

// hurt are values that do the most harm. Whatever else is in the list of
// tests/script/environment.txtar is set to a word that means nothing.
var hurt = map[string]string{
	"GOOS": "plan9", "GOARCH": "386", "GOAMD64": "v3", "GOARM64": "v9.5", "GOFLAGS": "-mod=vendor -race", "GOROOT": "/nonexistent",
	"MAKEFLAGS": "-n", "GNUMAKEFLAGS": "-t", "MAKEFILES": "/etc/passwd", "ARCH": "um", "SUBARCH": "um", "CROSS_COMPILE": "/nonexistent/", "LLVM": "1",
	"CC": "false", "LD": "false", "HOSTCC": "false", "KCFLAGS": "-O3 -DHURT", "KAFLAGS": "-DHURT", "CFLAGS": "-O3", "HOSTCFLAGS": "-DHURT",
	"CPATH": "/usr/include", "C_INCLUDE_PATH": "/usr/include", "COMPILER_PATH": "/nonexistent", "GCC_EXEC_PREFIX": "/nonexistent/",
	"KBUILD_OUTPUT": "/nonexistent", "KBUILD_EXTMOD": "/nonexistent", "KCONFIG_CONFIG": "/etc/passwd", "KCONFIG_ALLCONFIG": "/etc/passwd",
	"LOCALVERSION": "-hurt", "KBUILD_BUILD_USER": "hurt", "O": "/nonexistent", "M": "/nonexistent", "W": "e",
	"TAR_OPTIONS": "--exclude=*.h", "XZ_OPT": "-0", "XZ_DEFAULTS": "--format=lzma", "POSIXLY_CORRECT": "1",
	"LANG": "de_DE.UTF-8", "LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Kathmandu", "sign_file": "/etc/passwd", "kernelver": "1.0",
}

// TestHurtfulEnvironment builds and boots from an empty cache with everything set
// that make, compilers, kbuild, Go, tar, xz, dkms and QEMU read. Without those
// variables, the next run takes all of it from the cache, and a run from nothing
// in the same place makes the same bytes.
func TestHurtfulEnvironment(t *testing.T) {
	if !*hurtful {
		t.Skip("it builds two kernels: run it with -args -environment")
	}
	dir := t.TempDir()
	store := filepath.Join(dir, "cache")
	env := environmentOfHurt(t, dir)
	arch := target.All()[0].Name
	cells := [][]string{
		{"--kernel", "debian:6.12", "--arch", arch, "--cache", store},
		{"--kernel", "debian-image:6.1", "--arch", arch, "--mode", "dkms", "--cache", store},
	}
	both := func(env []string) (output string) {
		t.Helper()
		for _, args := range cells {
			results := t.TempDir()
			cmd := command(results, args...)
			cmd.Env = slices.Concat(os.Environ(), env)
			out, err := cmd.CombinedOutput()
			if result := finish(t, results, string(out), err); result.code != 0 {
				t.Fatalf("exit code %d, want 0; it printed:\n%s", result.code, out)
			}
			output += string(out)
		}
		return output
	}
	both(env)
	hurt := outputsIn(t, store)
	if out := both(nil); strings.Contains(out, "make -C") || strings.Contains(out, "building") || strings.Contains(out, "packing") {
		t.Errorf("the next run made something anew:\n%s", out)
	}
	if again := outputsIn(t, store); !maps.Equal(again, hurt) {
		t.Errorf("the next run left %d outputs in the cache, the first %d", len(again), len(hurt))
	}

	if err := os.Rename(store, store+".hurt"); err != nil {
		t.Fatal(err)
	}
	both(nil)
	clean := outputsIn(t, store)
	for name, sum := range clean {
		if hurt[name] != sum {
			t.Errorf("%s: %q, with the environment %q", name, sum, hurt[name])
		}
	}
	for name := range hurt {
		if _, ok := clean[name]; !ok {
			t.Errorf("only the environment makes %s", name)
		}
	}
	t.Logf("%d outputs, the same with %d variables", len(clean), len(env))
}

// environmentOfHurt returns a value for each variable of the script's list.
func environmentOfHurt(t *testing.T, dir string) []string {
	t.Helper()
	script, err := txtar.ParseFile("script/environment.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range script.Files {
		if _, rest, ok := strings.Cut(string(file.Data), "for name in"); ok && file.Name == "hurt.sh" {
			list, _, _ := strings.Cut(rest, "; do")
			names = strings.Fields(strings.ReplaceAll(list, "\\\n", " "))
		}
	}
	if len(names) < 100 {
		t.Fatalf("the script lists only %q", names)
	}
	for name := range hurt {
		if !slices.Contains(names, name) {
			t.Errorf("the script does not list %s", name)
		}
	}
	// What "go env -w" has written.
	goenv := filepath.Join(dir, "goenv")
	if err := os.WriteFile(goenv, []byte("GOFLAGS=-mod=vendor\nGOAMD64=v3\nCGO_ENABLED=1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	env := []string{"GOENV=" + goenv}
	for _, name := range names {
		value, ok := hurt[name]
		if !ok {
			value = "HURT"
		}
		env = append(env, name+"="+value)
	}
	return env
}

// outputsIn returns the digests of all outputs in a cache.
func outputsIn(t *testing.T, store string) map[string]string {
	t.Helper()
	found := map[string]string{}
	manifests, err := filepath.Glob(filepath.Join(store, "*/*/kheaders-cache.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range manifests {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var m struct {
			Outputs map[string]struct{ SHA256 string }
		}
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(store, filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		for output, file := range m.Outputs {
			found[fmt.Sprintf("%s/%s", name, output)] = file.SHA256
		}
	}
	for _, kind := range []string{"source", "kernel", "image", "headers", "module", "initramfs"} {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(found)), func(name string) bool { return strings.HasPrefix(name, kind+"/") }) {
			t.Errorf("the cache has no %s", kind)
		}
	}
	return found
}
