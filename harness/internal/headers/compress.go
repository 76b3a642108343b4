// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/module/archive"
)

// DefaultCompressor is used unless another is named.
const DefaultCompressor = "xz"

// Compressors returns the names of all compressors: xz is the xz program, which
// is parallel and compresses well; go runs in this process, is fast and
// compresses less.
func Compressors() []string { return []string{"xz", "go"} }

// compressor is a way to compress an archive.
type compressor struct {
	name     string
	compress archive.Compressor
}

func chooseCompressor(name string) (compressor, error) {
	switch name {
	case "":
		return chooseCompressor(DefaultCompressor)
	case "xz":
		// Look now: without xz there is no point in reading the trees.
		_, err := run.Look("xz")
		return compressor{name: name, compress: xz}, err
	case "go":
		return compressor{name: name, compress: archive.NewXZWriter}, nil
	}
	return compressor{}, hint.Usage(fmt.Errorf("unknown compressor %q", name), "use "+strings.Join(Compressors(), " or "))
}

// version returns what the compressor's bytes depend on other than its input.
func (c compressor) version(ctx context.Context) (string, error) {
	if c.name != "xz" {
		return "", nil // part of this program, see archive.Version
	}
	out, err := run.Cmd{Argv: []string{"xz", "--version"}, Env: xzEnv}.Output(ctx)
	if err != nil {
		return "", fmt.Errorf("asking xz for its version: %w", err)
	}
	return string(out) + run.Quote(xzArgs), nil
}

// xzArgs produce the same bytes on every machine with the same xz. The block
// size is fixed, and the threaded encoder is used even on one core, because the
// single-threaded one leaves sizes out of the block headers. Two blocks, about
// half of the tar each, keep two cores busy; more would cost bytes. Nearly all
// of it is text, in which a byte's position says nothing and the byte before it
// says much: hence pb=0 and lc=4. nice=48 trades half a percent of size for a
// seventeenth of the time. ARCHITECTURE.md has what other settings cost.
var xzArgs = []string{
	"xz", "--compress", "--stdout", "--quiet", "--format=xz", "--check=crc64",
	"--threads=2", "--block-size=17MiB", "--no-adjust",
	"--lzma2=preset=6,lc=4,pb=0,nice=48",
}

// XZCommand returns the command line of the xz compressor.
func XZCommand() []string { return slices.Clone(xzArgs) }

// xzEnv keeps out options that would change the bytes.
var xzEnv = []string{"XZ_DEFAULTS=", "XZ_OPT="}

// pipeBytes is the size of the pipe to xz. With the usual 64 KiB the two
// processes would keep waking each other.
const pipeBytes = 1 << 20

// xz compresses with the xz program.
func xz(ctx context.Context, w io.Writer) (io.WriteCloser, error) {
	r, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	// A limit on pipe memory may forbid this, and it works without.
	_, _ = unix.FcntlInt(in.Fd(), unix.F_SETPIPE_SZ, pipeBytes)
	x := &xzWriter{in: in, done: make(chan struct{})}
	go func() {
		defer close(x.done)
		x.err = run.Cmd{
			Argv:   xzArgs,
			Env:    xzEnv,
			Stdin:  r,
			Stdout: w,
		}.Run(ctx)
		// Only now does a writer notice that nobody reads.
		if err := r.Close(); x.err == nil && err != nil {
			x.err = fmt.Errorf("closing the pipe to xz: %w", err)
		}
	}()
	return x, nil
}

// xzWriter is the pipe to a running xz.
type xzWriter struct {
	in   *os.File
	done chan struct{} // closed when xz has exited
	err  error         // how xz exited
}

func (x *xzWriter) Write(p []byte) (int, error) {
	n, err := x.in.Write(p)
	if err != nil {
		// xz exited early, and the reason says more than the broken
		// pipe.
		<-x.done
		if x.err != nil {
			err = x.err
		}
	}
	return n, err
}

func (x *xzWriter) Close() error {
	err := x.in.Close()
	<-x.done
	if x.err != nil {
		return x.err
	}
	return err
}

// CheckCompressor returns a [hint.Usage] error when there is no compressor of
// that name. It does not check that its program is installed.
func CheckCompressor(name string) error {
	if _, err := chooseCompressor(name); hint.IsUsage(err) {
		return err
	}
	return nil
}
