// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/module/archive"
	"github.com/kheaders/kheaders/module/source"
)

// The packer in C must write exactly the bytes that package archive writes. It
// is compiled with the sanitizers, and as the oldest C that a kernel build asks
// for.
var packerFlags = []string{
	"-std=gnu89", "-Wall", "-Wextra", "-Wmissing-prototypes", "-Wstrict-prototypes",
	"-Wdeclaration-after-statement", "-Wshadow", "-Werror",
	"-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
}

// compile compiles the packer, or a C file around it.
func compile(tb testing.TB, compiler, file string, flags ...string) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.WriteFile(filepath.Join(dir, source.PackerName), source.Packer(), 0o644); err != nil {
		tb.Fatal(err)
	}
	if file == "" {
		file = filepath.Join(dir, source.PackerName)
	}
	program := filepath.Join(dir, "kheaders_pack")
	argv := append([]string{compiler}, flags...)
	out, err := run.Cmd{Argv: append(argv, "-I", dir, "-o", program, file)}.Output(tb.Context())
	if err != nil || len(out) > 0 {
		tb.Fatalf("compiling the packer: %v\n%s", err, out)
	}
	return program
}

// inC runs the packer.
func inC(tb testing.TB, program string, opts Options, env ...string) ([]byte, error) {
	tb.Helper()
	argv := []string{program, opts.Target.SrcArch, opts.Source}
	if opts.Build != "" {
		argv = append(argv, opts.Build)
	}
	var stdout bytes.Buffer
	err := run.Cmd{Argv: argv, Env: env, Stdout: &stdout}.Run(tb.Context())
	if failed, ok := errors.AsType[*run.Error](err); ok {
		return nil, errors.New(strings.Join(failed.Tail, "\n"))
	}
	return stdout.Bytes(), err
}

// inGo writes the same tar with package archive.
func inGo(tb testing.TB, opts Options) ([]byte, error) {
	tb.Helper()
	mtime, err := Timestamp(tb.Context())
	if err != nil {
		return nil, err
	}
	trees, err := openTrees(opts.Source, opts.Build, opts.Target)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err = archive.Write(tb.Context(), &b, trees, archive.Options{ModTime: mtime})
	if err != nil {
		return nil, explain(err, opts)
	}
	return b.Bytes(), nil
}

// corpus returns the texts to test the stripper with.
func corpus(tb testing.TB) [][]byte {
	tb.Helper()
	var texts [][]byte
	for _, pattern := range []string{"strip/*", "fuzz/FuzzStrip/*"} {
		names, err := filepath.Glob("../../../module/archive/testdata/" + pattern)
		if err != nil || len(names) == 0 {
			tb.Fatalf("no corpus in %s: %v", pattern, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				tb.Fatal(err)
			}
			if value, ok := bytes.CutPrefix(text, []byte("go test fuzz v1\n[]byte(")); ok {
				unquoted, err := strconv.Unquote(strings.TrimSuffix(string(value), ")\n"))
				if err != nil {
					tb.Fatalf("%s: %v", name, err)
				}
				text = []byte(unquoted)
			}
			texts = append(texts, text)
		}
	}
	return texts
}

// TestPacker compiles the packer once, with the sanitizers, for all of its tests.
func TestPacker(t *testing.T) {
	program := compile(t, "gcc", "", packerFlags...)
	for name, test := range map[string]func(*testing.T, string){
		"WritesTheSameBytes": testPackerWritesTheSameBytes,
		"Comparison":         testPackerComparison,
		"Refuses":            testPackerRefuses,
		"FailsToRead":        testPackerFailsToRead,
		"Layouts":            testPackerLayouts,
		"SkipsEditorFiles":   testPackerSkipsEditorFiles,
	} {
		t.Run(name, func(t *testing.T) { test(t, program) })
	}
}

func symlink(t *testing.T, to, name string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.Symlink(to, name)); err != nil {
		t.Fatal(err)
	}
}

// testPackerComparison proves that the comparison can fail.
func testPackerComparison(t *testing.T, program string) {
	opts := smallTree(t)
	want, err := inGo(t, opts)
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(){
		"another header": func() { put(t, filepath.Join(opts.Source, "include/another.h"), "x\n") },
		"another text":   func() { put(t, filepath.Join(opts.Source, "include/linux/kconfig.h"), "#define KCONFIG 2\n") },
		"another date":   func() { t.Setenv("SOURCE_DATE_EPOCH", "1") },
	} {
		edit()
		got, err := inC(t, program, opts)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(want, got) {
			t.Errorf("%s makes no difference", name)
		}
		want = got
	}
}

// refusal is a way to spoil trees, and what the packer says about it.
type refusal struct {
	name string
	edit func(t *testing.T, o *Options)
	want string // with DIR in place of the trees' directory
}

// refusals are the trees that both packers reject.
func refusals() []refusal {
	return []refusal{
		{"no such tree", func(_ *testing.T, o *Options) { o.Source += "/missing" }, "finding the tree DIR/source/missing: DIR/source/missing: No such file or directory"},
		{"the tree is a file", func(_ *testing.T, o *Options) { o.Build += "/include/generated/autoconf.h" }, "the tree DIR/build/include/generated/autoconf.h is not a directory"},
		{"not prepared", func(t *testing.T, o *Options) {
			if err := os.Remove(filepath.Join(o.Build, "include/generated/autoconf.h")); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(o.Source, "include/generated/autoconf.h"), "stale\n")
		}, `DIR/build/include/generated/autoconf.h: No such file or directory: is the kernel configured, and "make prepare" done?`},
		{"another architecture", func(_ *testing.T, o *Options) { o.Target.SrcArch = "vax" }, "finding DIR/source/arch/vax/include: DIR/source/arch/vax: No such file or directory"},
		{"link to nowhere", func(t *testing.T, o *Options) {
			symlink(t, "missing.h", filepath.Join(o.Source, "include/a.h"))
		}, "symbolic link DIR/source/include/a.h -> missing.h: DIR/source/include/missing.h: No such file or directory"},
		{"no header, and to nowhere", func(t *testing.T, o *Options) {
			symlink(t, "missing", filepath.Join(o.Source, "include/README"))
		}, "symbolic link DIR/source/include/README -> missing: DIR/source/include/missing: No such file or directory"},
		{"link outside", func(t *testing.T, o *Options) {
			put(t, filepath.Join(filepath.Dir(o.Source), "outside.h"), "x\n")
			symlink(t, "../../outside.h", filepath.Join(o.Source, "include/a.h"))
		}, "symbolic link DIR/source/include/a.h -> ../../outside.h: leads outside the kernel trees"},
		{"link to a neighbour whose name starts like ours", func(t *testing.T, o *Options) {
			put(t, o.Source+"2/a.h", "x\n")
			symlink(t, o.Source+"2/a.h", filepath.Join(o.Source, "include/a.h"))
		}, "symbolic link DIR/source/include/a.h -> DIR/source2/a.h: leads outside the kernel trees"},
		{"link to a directory outside", func(t *testing.T, o *Options) {
			symlink(t, "/proc/self", filepath.Join(o.Build, "include/self"))
		}, ""},
		{"include leads outside", func(t *testing.T, o *Options) {
			dir := filepath.Join(o.Build, inArch)
			if err := os.Rename(dir, filepath.Join(filepath.Dir(o.Build), "elsewhere")); err != nil {
				t.Fatal(err)
			}
			symlink(t, "../../../elsewhere", dir)
		}, "symbolic link DIR/build/" + inArch + " -> DIR/elsewhere: leads outside the kernel trees"},
		{"link to itself", func(t *testing.T, o *Options) {
			symlink(t, "a.h", filepath.Join(o.Source, "include/a.h"))
		}, "symbolic link DIR/source/include/a.h -> a.h: leads back to itself"},
		{"forty-one links", func(t *testing.T, o *Options) { chain(t, o, 41) }, "symbolic link DIR/source/include/chain.h -> ../links/40: leads back to itself"},
		{"link to a directory that holds it", func(t *testing.T, o *Options) {
			symlink(t, "..", filepath.Join(o.Source, "include/linux/up"))
		}, "symbolic link DIR/source/include/linux/up -> ..: leads back to itself"},
		{"link through a file", func(t *testing.T, o *Options) {
			symlink(t, "linux/kconfig.h/b.h", filepath.Join(o.Source, "include/a.h"))
		}, "symbolic link DIR/source/include/a.h -> linux/kconfig.h/b.h: DIR/source/include/linux/kconfig.h: Not a directory"},
		{"a pipe", func(t *testing.T, o *Options) {
			if err := unix.Mkfifo(filepath.Join(o.Source, "include/a.h"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "DIR/source/include/a.h is neither a file nor a directory"},
		{"include is a file", func(t *testing.T, o *Options) {
			if err := os.RemoveAll(filepath.Join(o.Build, inArch)); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(o.Build, inArch), "")
		}, "DIR/build/" + inArch + " is not a directory"},
		{"date", func(t *testing.T, _ *Options) { t.Setenv("SOURCE_DATE_EPOCH", "now") }, `SOURCE_DATE_EPOCH is "now", and not seconds since 1970`},
		{"a date too late", func(t *testing.T, _ *Options) {
			t.Setenv("SOURCE_DATE_EPOCH", "8589934592")
		}, `SOURCE_DATE_EPOCH is "8589934592", and not seconds since 1970`},
		{"a date far too late", func(t *testing.T, _ *Options) {
			t.Setenv("SOURCE_DATE_EPOCH", "18446744073709551616")
		}, `SOURCE_DATE_EPOCH is "18446744073709551616", and not seconds since 1970`},
		{"a negative date", func(t *testing.T, _ *Options) { t.Setenv("SOURCE_DATE_EPOCH", "-1") }, `SOURCE_DATE_EPOCH is "-1", and not seconds since 1970`},
	}
}

func testPackerRefuses(t *testing.T, program string) {
	for _, tt := range slices.Concat(refusals(), neighbourRefusals()) {
		t.Run(tt.name, func(t *testing.T) {
			opts := smallTree(t)
			dir := filepath.Dir(opts.Source)
			tt.edit(t, &opts)
			if _, err := inGo(t, opts); err == nil {
				t.Error("package archive takes it")
			}
			got, err := inC(t, program, opts)
			if err == nil {
				t.Fatalf("no error, and %d bytes", len(got))
			}
			text := strings.TrimPrefix(strings.ReplaceAll(err.Error(), dir, "DIR"), "kheaders_pack: ")
			if text != tt.want && tt.want != "" || strings.Contains(text, "\n") {
				t.Errorf("error %q, want %q", text, tt.want)
			}
		})
	}
	for _, args := range [][]string{nil, {"toy"}, {"", "/"}, {"../toy", "/"}, {".", "/"}, {"toy", "/", "/", "/"}} {
		err := run.Cmd{Argv: append([]string{program}, args...)}.Run(t.Context())
		failed, ok := errors.AsType[*run.Error](err)
		if !ok || !strings.Contains(strings.Join(failed.Tail, "\n"), "usage: kheaders_pack SRCARCH SOURCE [BUILD] >TAR") {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// TestPackerOnKernel compiles the packer as a kernel's build does. If the flags
// name a real kernel, it packs that.
func TestPackerOnKernel(t *testing.T) {
	opts := smallTree(t)
	compilers := []string{"gcc"}
	if *sourceFlag != "" {
		arch, err := target.Lookup(*archFlag)
		if err != nil {
			t.Fatal(err)
		}
		opts = Options{Source: *sourceFlag, Build: *buildFlag, Target: arch}
		compilers = append(compilers, "clang")
	}
	want, err := inGo(t, opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, compiler := range compilers {
		program := compile(t, compiler, "", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2")
		start := time.Now()
		got, err := inC(t, program, opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes in %v", compiler, len(got), time.Since(start))
		compareTars(t, want, got)
	}
}

// server calls the packer's stripper.
type server struct {
	in  io.Writer
	out *bufio.Reader
}

func serve(tb testing.TB) *server {
	tb.Helper()
	program := compile(tb, "gcc", "testdata/server.c", packerFlags...)
	requests, in := io.Pipe()
	out, answers := io.Pipe()
	done := make(chan error, 1)
	ctx := tb.Context() // a fuzz test's context must not be asked for later
	go func() {
		err := run.Cmd{Argv: []string{program}, Stdin: requests, Stdout: answers}.Run(ctx)
		answers.CloseWithError(errors.Join(err, io.EOF))
		requests.CloseWithError(errors.Join(err, io.EOF))
		done <- err
	}()
	tb.Cleanup(func() {
		_ = in.Close()
		<-done //nolint:errcheck // it was told to exit
	})
	return &server{in, bufio.NewReader(out)}
}

func (s *server) ask(tb testing.TB, text []byte) []byte {
	tb.Helper()
	request := binary.NativeEndian.AppendUint32(nil, uint32(len(text)))
	if _, err := s.in.Write(append(request, text...)); err != nil {
		tb.Fatalf("asking the packer about %q: %v", text, err)
	}
	var size uint32
	if err := binary.Read(s.out, binary.NativeEndian, &size); err != nil {
		tb.Fatalf("the packer ended over %q: %v", text, err)
	}
	answer := make([]byte, size)
	if _, err := io.ReadFull(s.out, answer); err != nil {
		tb.Fatalf("the packer ended over %q: %v", text, err)
	}
	return answer
}

// FuzzPackerStrips compares the two strippers.
func FuzzPackerStrips(f *testing.F) {
	s := serve(f)
	for _, text := range corpus(f) {
		f.Add(text)
	}
	f.Add([]byte("R\"\x00(\")\x00\" /* a */ \x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		want, got := archive.Strip(nil, text), s.ask(t, text)
		if !bytes.Equal(want, got) {
			t.Errorf("stripping %q gives %q in C, %q in Go", text, got, want)
		}
	})
}
