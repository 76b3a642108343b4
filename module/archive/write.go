// SPDX-License-Identifier: BSD-3-Clause

package archive

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
)

// Compressor returns a writer that compresses into w. The caller must close it;
// that does not close w. Once ctx has ended the archive is lost, and Close only
// has to clean up.
type Compressor func(ctx context.Context, w io.Writer) (io.WriteCloser, error)

// Options are the choices that [Write] leaves to its caller.
type Options struct {
	// ModTime is the time stamp of all entries, truncated to seconds.
	ModTime time.Time
	// KeepComments packs the headers unchanged.
	KeepComments bool
	// Compress compresses the tar. Nil leaves it uncompressed.
	Compress Compressor
	// Packed, if not nil, is called with the original text of each header, from
	// several goroutines at once. It must not retain the text.
	Packed func(file File, text []byte)
}

// Summary describes what [Write] put into an archive.
type Summary struct {
	// Files and Dirs count the entries, including the root directory.
	Files int `json:"files"`
	Dirs  int `json:"dirs"`
	// HeaderBytes is the size of the headers, comments included.
	HeaderBytes int64 `json:"header_bytes"`
	// TarBytes is the size of the tar before compression.
	TarBytes int64 `json:"tar_bytes"`
}

// ChangedError says that a header changed while it was read.
type ChangedError struct {
	// Path is the header, in the trees' file system.
	Path string
}

// Error names the header.
func (e *ChangedError) Error() string { return e.Path + " changed while it was read" }

// batchFiles is how many headers a worker takes at a time, and windowBatches how
// many batches may be in flight: enough to keep the compressor busy, and at most
// a few MiB.
const (
	batchFiles    = 16
	windowBatches = 16
)

// batch is a run of headers on its way from a worker to the tar.
type batch struct {
	files []File
	ready chan struct{}
	text  []byte // of all files, back to back
	ends  []int  // where each file's text ends
	raw   []byte // the header being read
	bytes int64  // read in total
}

// Write selects the headers of the trees and writes their archive to w. It reads
// and strips headers in parallel, while the ones before them are compressed. If
// it returns an error, discard what it wrote.
func Write(ctx context.Context, w io.Writer, trees Trees, opts Options) (Summary, error) {
	files, err := trees.Select()
	if err != nil {
		return Summary{}, err
	}
	return WriteFiles(ctx, w, trees.FS, files, opts)
}

// WriteFiles is [Write] for headers that [Trees.Select] returned.
func WriteFiles(ctx context.Context, w io.Writer, fsys fs.FS, files []File, opts Options) (Summary, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	compressCtx := ctx
	group, ctx := errgroup.WithContext(ctx)
	free := make(chan *batch, windowBatches)
	for range windowBatches {
		free <- &batch{}
	}
	work := make(chan *batch, windowBatches)
	ordered := make(chan *batch, windowBatches)
	group.Go(func() error {
		defer close(work)
		defer close(ordered)
		for len(files) > 0 {
			var b *batch
			select {
			case b = <-free:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			n := min(batchFiles, len(files))
			b.files, files = files[:n], files[n:]
			b.ready = make(chan struct{})
			// Neither blocks: the channels have room for every batch.
			work <- b
			ordered <- b
		}
		return nil
	})
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			for b := range work {
				if err := b.read(fsys, opts); err != nil {
					return err
				}
				close(b.ready)
			}
			return nil
		})
	}
	var sum Summary
	group.Go(func() error {
		out, err := newTarWriter(compressCtx, w, opts)
		if err != nil {
			return err
		}
		err = func() error {
			for b := range ordered {
				select {
				case <-b.ready:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
				if err := out.add(b); err != nil {
					return err
				}
				free <- b
			}
			return nil
		}()
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx) // a worker failed; ordered ended early
		}
		sum, err = out.finish(err, cancel)
		return err
	})
	if err := group.Wait(); err != nil {
		return Summary{}, err
	}
	return sum, nil
}

// read fills the batch with the text of its files.
func (b *batch) read(fsys fs.FS, opts Options) error {
	b.text, b.ends, b.bytes = b.text[:0], b.ends[:0], 0
	for _, file := range b.files {
		var err error
		if b.raw, err = readFile(fsys, file.Path, b.raw[:0]); err != nil {
			return err
		}
		b.bytes += int64(len(b.raw))
		if opts.Packed != nil {
			opts.Packed(file, b.raw)
		}
		if opts.KeepComments {
			b.text = append(b.text, b.raw...)
		} else {
			b.text = Strip(b.text, b.raw)
		}
		b.ends = append(b.ends, len(b.text))
	}
	return nil
}

// readFile appends the file to buf. It fails if the file changes meanwhile.
func readFile(fsys fs.FS, name string, buf []byte) (_ []byte, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading a header: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	before, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading a header: %w", err)
	}
	if !before.Mode().IsRegular() {
		return nil, &ChangedError{Path: name}
	}
	// One byte of extra room, so that the same read sees the end of the file.
	if need := int(before.Size()) + 1; cap(buf)-len(buf) < need {
		buf = append(make([]byte, 0, len(buf)+need), buf...)
	}
	start := len(buf)
	for {
		n, err := f.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading a header: %w", err)
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
	}
	after, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading a header: %w", err)
	}
	if before.Size() != int64(len(buf)-start) || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		return nil, &ChangedError{Path: name}
	}
	return buf, nil
}

// tarWriter writes batches into a compressed tar.
type tarWriter struct {
	tar      *tar.Writer
	buf      *bufio.Writer
	compress io.WriteCloser // nil for an uncompressed tar
	count    *countWriter
	header   tar.Header
	dirs     map[string]bool
	sum      Summary
}

func newTarWriter(ctx context.Context, w io.Writer, opts Options) (*tarWriter, error) {
	t := &tarWriter{dirs: map[string]bool{}}
	if opts.Compress != nil {
		var err error
		if t.compress, err = opts.Compress(ctx, w); err != nil {
			return nil, fmt.Errorf("starting the compressor: %w", err)
		}
		w = t.compress
	}
	t.count = &countWriter{w: w}
	t.buf = bufio.NewWriterSize(t.count, 256<<10)
	t.tar = tar.NewWriter(t.buf)
	t.header.ModTime = opts.ModTime.UTC().Truncate(time.Second)
	return t, nil
}

func (t *tarWriter) add(b *batch) error {
	if err := t.dir("."); err != nil {
		return err
	}
	start := 0
	for i, file := range b.files {
		if err := t.dir(path.Dir(file.Name)); err != nil {
			return err
		}
		t.header.Typeflag = tar.TypeReg
		t.header.Name = "./" + file.Name
		t.header.Mode = 0o644
		t.header.Size = int64(b.ends[i] - start)
		if err := t.tar.WriteHeader(&t.header); err != nil {
			return fmt.Errorf("writing the archive: %w", err)
		}
		if _, err := t.tar.Write(b.text[start:b.ends[i]]); err != nil {
			return fmt.Errorf("writing the archive: %w", err)
		}
		start = b.ends[i]
	}
	t.sum.Files += len(b.files)
	t.sum.HeaderBytes += b.bytes
	return nil
}

// dir writes a directory and its parents, unless they are written already.
func (t *tarWriter) dir(name string) error {
	if t.dirs[name] {
		return nil
	}
	t.dirs[name] = true
	t.sum.Dirs++
	entry := "./"
	if name != "." {
		if err := t.dir(path.Dir(name)); err != nil {
			return err
		}
		entry = "./" + name + "/"
	}
	t.header.Typeflag = tar.TypeDir
	t.header.Name = entry
	t.header.Mode = 0o755
	t.header.Size = 0
	if err := t.tar.WriteHeader(&t.header); err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	return nil
}

// finish ends the archive and waits for the compressor, which must end even
// after a failure; abandon makes it give up.
func (t *tarWriter) finish(err error, abandon context.CancelCauseFunc) (Summary, error) {
	if err == nil {
		err = t.tar.Close()
	}
	if err == nil {
		err = t.buf.Flush()
	}
	if err != nil {
		abandon(err)
	}
	if t.compress != nil {
		if closeErr := t.compress.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("compressing: %w", closeErr)
		}
	}
	t.sum.TarBytes = t.count.n
	return t.sum, err
}

// countWriter counts what passes through it.
type countWriter struct {
	w io.Writer
	n int64
}

func (c *countWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
