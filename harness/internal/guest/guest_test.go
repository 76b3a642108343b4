// SPDX-License-Identifier: BSD-3-Clause

package guest_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/guest"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
)

// repo is a module with our module's name: an agent, and packages of tests.
var repo = map[string]string{
	"go.mod":                  "module " + guest.Module + "\n\ngo 1.26\n",
	"go.sum":                  "",
	"initramfs/agent/main.go": "package main\n\nfunc main() {}\n",
	"initramfs/xzcat/main.go": "package main\n\nfunc main() {}\n",
	"tests/guest/inside_test.go": `package guest

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(m.Run()) }

func TestInside(t *testing.T) {
	f := func(t *testing.T) { t.Log("a closure") }
	t.Run("sub", f)
	helper(t)
}

func Test(*testing.T)       {}
func Test_underscore(*testing.T) {}
func TestÄ(*testing.T) {}
func BenchmarkInside(*testing.B) {}
func FuzzInside(f *testing.F) { f.Fuzz(func(*testing.T, int) {}) }
func Example() {}
`,
	"tests/guest/helpers.go": `package guest

import "testing"

type T struct{}

//go:noinline
func (T) TestMethod(t *testing.T) { t.Log("a method") }

//go:noinline
func helper(t *testing.T) { T{}.TestMethod(t); TestGeneric(t, 1); Testlower(t); Testä(t) }

//go:noinline
func Testlower(t *testing.T) { t.Log("no test") }

//go:noinline
func Testä(t *testing.T) { t.Log("no test") }

//go:noinline
func TestGeneric[V any](t *testing.T, v V) { t.Log(v) }
`,
	"tests/guest/outside_test.go": `package guest_test

import "testing"

func TestOutside(*testing.T) {}
func TestInside(*testing.T) {}
`,
	"tests/guestmore/more_test.go": "package guestmore\n\nimport \"testing\"\n\nfunc TestMore(*testing.T) {}\n",
	"tests/empty/empty_test.go":    "package empty\n\nvar _ = 1\n",
	"tests/none/none.go":           "package none\n",
	"tests/broken/broken_test.go":  "package broken\n\nvar _ = nothing\n",
}

func writeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestPrograms compiles for every target, whatever the host is.
func TestPrograms(t *testing.T) {
	b := guest.Builder{Repo: writeTree(t, repo), Log: filepath.Join(t.TempDir(), "log")}
	for _, a := range target.All() {
		t.Run(a.Name, func(t *testing.T) {
			// The user's settings for other work do not reach the
			// guest.
			t.Setenv("GOFLAGS", "-tags=other")
			t.Setenv("GOOS", "plan9")
			p, err := b.Programs(t.Context(), a, guest.Tests, t.TempDir())
			if err != nil {
				if e, ok := errors.AsType[*run.Error](err); ok {
					t.Log(strings.Join(e.Tail, "\n"))
				}
				t.Fatal(err)
			}
			want := []string{"Test", "TestInside", "TestOutside", "Test_underscore", "TestÄ"}
			if !slices.Equal(p.Declared, want) {
				t.Errorf("the tests are %q, want %q", p.Declared, want)
			}
			anywhere(t, p.Tests, want)
			for _, path := range []string{p.Tests} {
				f, err := elf.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				if f.Machine != a.Machine {
					t.Errorf("%s is for %v", path, f.Machine)
				}
				if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
					t.Errorf("%s needs %q, %v", path, libs, err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}

			// A package without tests declares none. One whose name
			// is the start of another's has only its own.
			for pkg, want := range map[string][]string{"empty": nil, "guestmore": {"TestMore"}} {
				p, err := b.Programs(t.Context(), a, guest.Module+"/tests/"+pkg, t.TempDir())
				if err != nil || !slices.Equal(p.Declared, want) {
					t.Errorf("%s declares %q, %v", pkg, p.Declared, err)
				}
			}
		})
	}
}

// anywhere checks that the tests in a binary do not depend on the kind of file or
// on the addresses of its sections.
func anywhere(t *testing.T, path string, want []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// In the header of an ELF64 file, the type is at 16, the section headers' place
	// at 40, their number at 60. Each has 64 bytes, with the address at 16.
	order := binary.LittleEndian
	headers, n := order.Uint64(text[40:]), order.Uint16(text[60:])
	for _, typ := range []elf.Type{elf.ET_REL, elf.ET_EXEC, elf.ET_DYN} {
		order.PutUint16(text[16:], uint16(typ))
		for _, base := range []uint64{0, 0x260, 0xffff800080000000} {
			for i := range uint64(n) {
				order.PutUint64(text[headers+64*i+16:], base+i<<12)
			}
			got, err := guest.Declared(bytes.NewReader(text), guest.Tests)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%v with sections at %#x has the tests %q, %v; want %q", typ, base, got, err, want)
			}
		}
	}
}

func TestProgramsErrors(t *testing.T) {
	b := guest.Builder{Repo: writeTree(t, repo), Log: filepath.Join(t.TempDir(), "log")}
	a := target.All()[0]
	_, err := b.Programs(t.Context(), a, guest.Module+"/tests/none", t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "has no test files") {
		t.Errorf("no tests: %v", err)
	}
	_, err = b.Programs(t.Context(), a, guest.Module+"/tests/broken", t.TempDir())
	if err == nil || !strings.HasPrefix(err.Error(), "compiling "+guest.Module+"/tests/broken: ") {
		t.Errorf("broken tests: %v", err)
	}
	text, err := os.ReadFile(b.Log)
	if err != nil || !strings.Contains(string(text), "undefined: nothing") {
		t.Errorf("the log is %q, %v", text, err)
	}
}

func TestDeclaredOfNoBinary(t *testing.T) {
	if _, err := guest.Declared(strings.NewReader("#!/bin/sh\n"), guest.Tests); err == nil {
		t.Error("a script was taken for a test binary")
	}
	// A binary without symbols must not be taken for one without tests.
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01")
	b.Write(make([]byte, 9))
	b.WriteString("\x02\x00\x3e\x00\x01\x00\x00\x00")
	b.Write(make([]byte, 28))
	b.WriteString("\x40\x00\x38\x00\x00\x00\x40\x00\x00\x00\x00\x00")
	if _, err := guest.Declared(bytes.NewReader(b.Bytes()), guest.Tests); err == nil || !strings.Contains(err.Error(), "symbols") {
		t.Errorf("a stripped binary: %v", err)
	}
}

// fakeGo puts a go first in PATH that makes a fake mkuimage, and returns the
// file in which both note their calls.
func fakeGo(t *testing.T) (notes string) {
	t.Helper()
	dir := t.TempDir()
	notes = filepath.Join(dir, "notes")
	for name, script := range map[string]string{
		"go": `#!/bin/sh
[ "$1" != env ] || exit 0
echo "go GOARCH=$GOARCH $*" >> '` + notes + `'
[ -z "$FAIL" ] || exit 1
cp '` + dir + `/mkuimage.sh' "$3"
`,
		"mkuimage.sh": `#!/bin/sh
{ env; echo "mkuimage GOARCH=$GOARCH CGO_ENABLED=$CGO_ENABLED $*"; } >> '` + notes + `'
mkdir "$4/left" && echo image > "$2"
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	t.Setenv(run.KeepVariable, "FAIL")
	return notes
}

func TestBase(t *testing.T) {
	notes := fakeGo(t)
	b := guest.Builder{
		Repo: writeTree(t, repo), Store: cache.Store{Dir: t.TempDir()}, Log: filepath.Join(t.TempDir(), "log"),
	}
	base := func(a target.Target) string {
		t.Helper()
		path, err := b.Base(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != "image\n" {
			t.Fatalf("the image is %q, %v", text, err)
		}
		return path
	}
	calls := func() string {
		t.Helper()
		text, err := os.ReadFile(notes)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}

	// A failed build leaves nothing that could be mistaken for an image.
	t.Setenv("FAIL", "yes")
	if _, err := b.Base(t.Context(), target.All()[0]); err == nil || !strings.Contains(err.Error(), "u-root image") {
		t.Errorf("the error is %v", err)
	}
	t.Setenv("FAIL", "")
	paths := map[string]bool{}
	for _, a := range target.All() {
		if level, _, ok := strings.Cut(a.GoLevel, "="); ok {
			t.Setenv(level, "the user's")
		}
		path := base(a)
		paths[path] = true
		if a.GoLevel != "" && !strings.Contains(calls(), "\n"+a.GoLevel+"\n") {
			t.Errorf("the guest's programs are not compiled for %s:\n%s", a.GoLevel, calls())
		}
		if text := calls(); !strings.Contains(text, "mkuimage GOARCH="+a.GOARCH+" CGO_ENABLED=0 -o ") || !strings.Contains(text, " -initcmd init -uinitcmd agent -defaultsh agent ") {
			t.Errorf("the calls are\n%s", text)
		}
		// mkuimage runs here, whatever it builds for.
		if strings.Contains(calls(), "go GOARCH="+a.GOARCH) {
			t.Errorf("mkuimage was compiled for the guest:\n%s", calls())
		}
		if list, err := os.ReadDir(filepath.Dir(path)); err != nil || slices.ContainsFunc(list, func(e os.DirEntry) bool { return e.IsDir() }) {
			t.Errorf("the entry holds %v, %v", list, err)
		}
	}
	if len(paths) != len(target.All()) {
		t.Errorf("the images are %v", paths)
	}
	before := calls()
	for _, a := range target.All() {
		if !paths[base(a)] {
			t.Error("the second image lies elsewhere")
		}
	}
	if calls() != before {
		t.Error("an image was built again")
	}
	changes(t, b, paths, base)
}

// changes checks that a different version of u-root, or different programs of
// ours, make a different image.
func changes(t *testing.T, b guest.Builder, paths map[string]bool, base func(target.Target) string) {
	t.Helper()
	for _, name := range []string{"go.sum", "initramfs/xzcat/main.go", "initramfs/agent/main.go"} {
		if err := os.WriteFile(filepath.Join(b.Repo, name), []byte("changed"), 0o644); err != nil {
			t.Fatal(err)
		}
		if path := base(target.All()[0]); paths[path] {
			t.Errorf("after a change of %s the image is the same", name)
		} else {
			paths[path] = true
		}
	}
	for _, name := range []string{"initramfs", "go.sum"} {
		if err := os.RemoveAll(filepath.Join(b.Repo, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Base(t.Context(), target.All()[0]); err == nil {
			t.Errorf("without %s there is an image", name)
		}
	}
}

func TestWithoutGo(t *testing.T) {
	b := guest.Builder{Repo: writeTree(t, repo), Store: cache.Store{Dir: t.TempDir()}}
	t.Setenv("PATH", t.TempDir())
	_, baseErr := b.Base(t.Context(), target.All()[0])
	_, programsErr := b.Programs(t.Context(), target.All()[0], guest.Tests, t.TempDir())
	for _, err := range []error{baseErr, programsErr} {
		if e, ok := errors.AsType[*run.NotFoundError](err); !ok || e.Program != "go" {
			t.Errorf("the error is %v", err)
		}
	}
}
