// SPDX-License-Identifier: BSD-3-Clause

package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"

	"github.com/kheaders/kheaders/module/archive"
)

var stamp = time.Date(2001, time.February, 3, 4, 5, 6, 7, time.FixedZone("X", 3600))

// write packs the toy kernel's trees.
func write(tb testing.TB, trees archive.Trees, opts archive.Options) []byte {
	tb.Helper()
	var b bytes.Buffer
	if _, err := archive.Write(tb.Context(), &b, trees, opts); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// list describes the entries of a tar.
func list(tb testing.TB, data []byte) string {
	tb.Helper()
	var b strings.Builder
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			tb.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			tb.Fatal(err)
		}
		fmt.Fprintf(&b, "%c %o %d:%d%s%s %s %s %q\n", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Uname, h.Gname,
			h.ModTime.UTC().Format(time.RFC3339Nano), h.Name, text)
	}
}

const toyList = `5 755 0:0 2001-02-03T03:05:06Z ./ ""
5 755 0:0 2001-02-03T03:05:06Z ./arch/ ""
5 755 0:0 2001-02-03T03:05:06Z ./arch/x86/ ""
5 755 0:0 2001-02-03T03:05:06Z ./arch/x86/include/ ""
5 755 0:0 2001-02-03T03:05:06Z ./arch/x86/include/asm/ ""
0 644 0:0 2001-02-03T03:05:06Z ./arch/x86/include/asm/page.h "#define PAGE\n"
5 755 0:0 2001-02-03T03:05:06Z ./arch/x86/include/generated/ ""
5 755 0:0 2001-02-03T03:05:06Z ./arch/x86/include/generated/asm/ ""
0 644 0:0 2001-02-03T03:05:06Z ./arch/x86/include/generated/asm/a.h "#include <asm-generic/a.h>\n"
5 755 0:0 2001-02-03T03:05:06Z ./include/ ""
5 755 0:0 2001-02-03T03:05:06Z ./include/generated/ ""
0 644 0:0 2001-02-03T03:05:06Z ./include/generated/autoconf.h "#define CONFIG_64BIT 1\n"
0 644 0:0 2001-02-03T03:05:06Z ./include/generated/utsrelease.h "#define UTS_RELEASE \"6.12.1-toy\"\n"
5 755 0:0 2001-02-03T03:05:06Z ./include/linux/ ""
0 644 0:0 2001-02-03T03:05:06Z ./include/linux/kconfig.h "#define KCONFIG\n"
0 644 0:0 2001-02-03T03:05:06Z ./include/linux/types.h "typedef int t;\n"
0 644 0:0 2001-02-03T03:05:06Z ./include/linux.h "sorts after the directory\n"
0 644 0:0 2001-02-03T03:05:06Z ./include/stale.h "object\n"
`

func TestWrite(t *testing.T) {
	var b bytes.Buffer
	sum, err := archive.Write(t.Context(), &b, toyTrees(kernel()), archive.Options{ModTime: stamp})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(toyList, list(t, b.Bytes())); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	want := archive.Summary{Files: 8, Dirs: 10, TarBytes: int64(b.Len())}
	for _, f := range toyFiles {
		want.HeaderBytes += int64(len(kernel()[f.Path].Data))
	}
	if diff := cmp.Diff(want, sum); diff != "" {
		t.Errorf("summary, -want +got:\n%s", diff)
	}
}

func TestWriteKeepsComments(t *testing.T) {
	got := list(t, write(t, toyTrees(kernel()), archive.Options{ModTime: stamp, KeepComments: true}))
	want := strings.ReplaceAll(toyList, `#define KCONFIG\n`, `#define KCONFIG /* a comment */\n`)
	want = strings.ReplaceAll(want, `typedef int t;\n`, `typedef int t;\n\n`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestWriteIsReproducible packs the same headers, on one core and on many, from
// trees that differ in everything that must not matter.
func TestWriteIsReproducible(t *testing.T) {
	fsys := kernel()
	for i := range 400 {
		fsys[fmt.Sprintf("src/include/many/%d/%d.h", i%7, i)] = file(strings.Repeat(fmt.Sprintf("int a%d; /* x */\n", i), 1+i%64))
	}
	// One is larger than the tar's buffer.
	fsys["src/include/many/large.h"] = file(strings.Repeat("int large; /* x */\n", 1<<15))
	opts := archive.Options{ModTime: stamp, Compress: archive.NewXZWriter}
	want := write(t, toyTrees(fsys), opts)

	moved := fstest.MapFS{}
	for name, f := range fsys {
		moved["other/place/"+name] = &fstest.MapFile{Data: f.Data, Mode: 0o755, ModTime: time.Now(), Sys: 1}
	}
	trees := toyTrees(moved)
	trees.Source, trees.Build = "other/place/src", "other/place/obj"
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, procs := range []int{1, 2, 8} {
		runtime.GOMAXPROCS(procs)
		if !bytes.Equal(write(t, trees, opts), want) {
			t.Errorf("with %d threads: other bytes", procs)
		}
	}

	// The comparison must be able to fail.
	for _, edit := range []func(){
		func() { opts.ModTime = opts.ModTime.Add(time.Second) },
		func() { opts.KeepComments = true },
		func() { moved["other/place/src/include/linux.h"].Data[0]++ },
	} {
		edit()
		got := write(t, trees, opts)
		if bytes.Equal(got, want) {
			t.Error("a change was not seen")
		}
		want = got
	}
}

// hookFS calls hook when a file is read.
type hookFS struct {
	fstest.MapFS
	hook func(name string) error
}

type hookFile struct {
	fs.File
	name string
	hook func(name string) error
}

func (h hookFS) Open(name string) (fs.File, error) {
	f, err := h.MapFS.Open(name)
	return hookFile{f, name, h.hook}, err
}

func (h hookFile) Read(p []byte) (int, error) {
	if err := h.hook(h.name); err != nil {
		return 0, err
	}
	return h.File.Read(p)
}

// brokenWriter fails after some bytes.
type brokenWriter struct {
	room int
	err  error
}

func (b *brokenWriter) Write(p []byte) (int, error) {
	if len(p) > b.room {
		return b.room, b.err
	}
	b.room -= len(p)
	return len(p), nil
}

// closeRecorder is a compressor that compresses nothing and fails on request.
type closeRecorder struct {
	io.Writer
	ctx      context.Context
	closeErr error
	closed   int
	lost     bool
}

func (c *closeRecorder) Close() error {
	c.closed++
	c.lost = c.ctx.Err() != nil
	return c.closeErr
}

func TestWriteFails(t *testing.T) {
	cause := errors.New("the cause")
	cancelled, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	read := func(hook func(string) error) archive.Trees { return toyTrees(hookFS{kernel(), hook}) }
	ok := func(string) error { return nil }
	for _, tt := range []struct {
		name  string
		ctx   context.Context
		trees archive.Trees
		out   io.Writer
		close error
		start error
		want  string
		lost  bool
	}{
		{name: "nothing", trees: read(ok)},
		{name: "unreadable", trees: read(func(string) error { return cause }), want: "reading a header: the cause", lost: true},
		{name: "unreadable at the end", trees: read(func(name string) error {
			if strings.HasSuffix(name, "stale.h") {
				return cause
			}
			return nil
		}), want: "reading a header: the cause", lost: true},
		{name: "cancelled", ctx: cancelled, trees: read(ok), want: "the cause", lost: true},
		{name: "disk full", trees: read(ok), out: &brokenWriter{10, cause}, want: "the cause", lost: true},
		{name: "compressor does not end well", trees: read(ok), close: cause, want: "compressing: the cause"},
		{name: "compressor does not start", trees: read(ok), start: cause, want: "starting the compressor: the cause"},
		{name: "no trees", trees: archive.Trees{FS: fstest.MapFS{}, Source: "src", SrcArch: "x86"}, want: "finding the tree src: lstat src: file does not exist"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			if tt.ctx == nil {
				tt.ctx = t.Context()
			}
			if tt.out == nil {
				tt.out = io.Discard
			}
			rec := &closeRecorder{closeErr: tt.close}
			started := false
			_, err := archive.Write(tt.ctx, tt.out, tt.trees, archive.Options{
				Compress: func(ctx context.Context, w io.Writer) (io.WriteCloser, error) {
					if tt.start != nil {
						return nil, tt.start
					}
					started = true
					rec.ctx, rec.Writer = ctx, w
					return rec, nil
				},
			})
			if got := fmt.Sprint(err); got != tt.want && (tt.want != "" || err != nil) {
				t.Errorf("error %q, want %q", got, tt.want)
			}
			if started && (rec.closed != 1 || rec.lost != tt.lost) {
				t.Errorf("the compressor was closed %d times, knowing of the loss: %v, want once and %v", rec.closed, rec.lost, tt.lost)
			}
			for range 100 {
				if runtime.NumGoroutine() <= before {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		})
	}
}

func TestWriteLongNames(t *testing.T) {
	fsys := kernel()
	long := "include/" + strings.Repeat("a-long-name/", 30) + "header.h"
	fsys["src/"+long] = file("int a;\n")
	got := list(t, write(t, toyTrees(fsys), archive.Options{ModTime: stamp}))
	if !strings.Contains(got, "./"+long+` "int a;\n"`) {
		t.Errorf("%s is missing:\n%s", long, got)
	}
}

// TestVersion fails when the same trees give different bytes than they used to.
func TestVersion(t *testing.T) {
	fsys := kernel()
	for name, text := range corpus(t) {
		fsys["src/include/corpus/"+name] = file(text)
	}
	sum := sha256.Sum256(write(t, toyTrees(fsys), archive.Options{ModTime: stamp, Compress: archive.NewXZWriter}))
	got := fmt.Sprintf("version %d: %x", archive.Version, sum)
	const want = "version 3: 95a68689d0557ec1d6000203c10f881ef945855699c8ccdbc54675a51bb7a851"
	if got != want {
		t.Errorf("got  %s\nwant %s\nraise Version, and put the new digest here", got, want)
	}
}

// TestXZWriter compresses several blocks, on different numbers of processors.
func TestXZWriter(t *testing.T) {
	text := bytes.Repeat([]byte("a line of some text, and of some more\n"), 1<<13)
	for i := range 100 { // so that the blocks differ
		copy(text[i*3000:], strconv.Itoa(i))
	}
	const blockBytes = 50_000
	var want []byte
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, procs := range []int{1, 2, 8} {
		runtime.GOMAXPROCS(procs)
		var b bytes.Buffer
		w := archive.XZBlocks(t.Context(), &b, blockBytes)
		// Pieces that cross the boundaries of blocks.
		for rest := text; len(rest) > 0; {
			n := min(len(rest), 10_000+procs)
			if k, err := w.Write(rest[:n]); k != n || err != nil {
				t.Fatalf("wrote %d of %d: %v", k, n, err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = b.Bytes()
		}
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("with %d processors: other bytes", procs)
		}
	}
	if n := bytes.Count(want, []byte("\x21\x01\x16")); n != (len(text)+blockBytes-1)/blockBytes {
		t.Errorf("%d blocks of %d bytes make up %d", n, blockBytes, len(text))
	}
	r, err := xz.NewReader(bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, text) {
		t.Errorf("read %d bytes, error %v; want the %d that were written", len(got), err, len(text))
	}
}

func TestXZWriterFails(t *testing.T) {
	cause := errors.New("the cause")
	text := make([]byte, 10_000)
	before := runtime.NumGoroutine()
	for _, room := range []int{0, 12, 20, 200} {
		w := archive.XZBlocks(t.Context(), &brokenWriter{room, cause}, 4*len(text))
		var err error
		for range 64 {
			if _, err = w.Write(text); err != nil {
				break
			}
		}
		if closeErr := w.Close(); !errors.Is(errors.Join(err, closeErr), cause) {
			t.Errorf("room for %d bytes: errors %v and %v", room, err, closeErr)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	w := archive.XZBlocks(ctx, io.Discard, 4*len(text))
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	cancel(cause)
	if err := w.Close(); !errors.Is(err, cause) {
		t.Errorf("cancelled: error %v", err)
	}
	for range 500 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}
