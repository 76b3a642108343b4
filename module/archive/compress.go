// SPDX-License-Identifier: BSD-3-Clause

package archive

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"runtime"
	"sync"

	"github.com/ulikunitz/xz/lzma"
)

const (
	// goBlockBytes is how much of the tar goes into one block of the Go
	// compressor. About two blocks make a kernel's headers: more would cost
	// bytes. It must not depend on the machine, or the bytes would.
	goBlockBytes = 17 << 20
	// goDictBits encodes the dictionary's size, see [parseBlock]: 22 is 8 MiB.
	goDictBits  = 22
	goDictBytes = 8 << 20
	// goCheck is the number of crc64 among the [checks].
	goCheck = 0x4
)

// Go is the compressor that needs no other program: quick, and about 30 %
// larger than what the xz program makes. Its blocks are compressed in parallel;
// the bytes do not depend on how many at a time.
func Go(ctx context.Context, w io.Writer) (io.WriteCloser, error) {
	return newGoWriter(ctx, w, goBlockBytes), nil
}

func newGoWriter(ctx context.Context, w io.Writer, blockBytes int) *goWriter {
	g := &goWriter{
		ctx: ctx, w: w, blockBytes: blockBytes, slots: make(chan struct{}, runtime.GOMAXPROCS(0)),
		order: make(chan *goBlock, runtime.GOMAXPROCS(0)), ended: make(chan struct{}),
	}
	go g.emit()
	return g
}

// goWriter cuts what is written to it into blocks.
type goWriter struct {
	ctx        context.Context
	w          io.Writer
	blockBytes int
	block      *goBlock      // the one being filled, or nil
	slots      chan struct{} // holds one for each block being compressed
	order      chan *goBlock // blocks as they follow one another
	ended      chan struct{} // closed when emit has ended
	index      []record      // of emit, then of Close
	err        error         // of emit, once it has ended
}

func (g *goWriter) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if g.block == nil {
			if err := g.begin(); err != nil {
				return n, err
			}
		}
		k := g.block.fill(p[n:])
		if n += k; k == 0 {
			g.block = nil
		}
	}
	return n, nil
}

// begin starts a block, as soon as a processor is free for it.
func (g *goWriter) begin() error {
	select {
	case g.slots <- struct{}{}:
	case <-g.ended: // early: nothing can be written any more
		return g.err
	case <-g.ctx.Done():
		return context.Cause(g.ctx)
	}
	b := &goBlock{ctx: g.ctx, done: make(chan struct{}), text: make([]byte, 0, g.blockBytes)}
	b.cond.L = &b.mu
	g.block = b
	select {
	case g.order <- b:
	case <-g.ended:
		return g.err
	}
	go func() {
		defer func() { <-g.slots }()
		defer close(b.done)
		defer context.AfterFunc(g.ctx, b.cond.Broadcast)()
		b.err = b.compress()
	}()
	return nil
}

// Close ends the stream: the last block, the index, the footer.
func (g *goWriter) Close() error {
	if g.block != nil {
		g.block.end()
	}
	close(g.order)
	<-g.ended
	if g.err != nil {
		return g.err
	}
	index := []byte{0}
	index = binary.AppendUvarint(index, uint64(len(g.index)))
	for _, r := range g.index {
		index = binary.AppendUvarint(index, uint64(r.unpadded))
		index = binary.AppendUvarint(index, uint64(r.size))
	}
	index = sum32(pad(index))
	footer := binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1))
	footer = append(footer, 0, goCheck)
	footer = append(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(footer)), footer...)
	_, err := g.w.Write(append(append(index, footer...), footerMagic...))
	return err
}

// emit writes the header and the blocks, in their order.
func (g *goWriter) emit() {
	defer close(g.ended)
	flags := []byte{0, goCheck}
	header := binary.LittleEndian.AppendUint32(append([]byte(streamMagic), flags...), crc32.ChecksumIEEE(flags))
	if _, g.err = g.w.Write(header); g.err != nil {
		return
	}
	for b := range g.order {
		<-b.done
		if g.err = b.err; g.err != nil {
			return
		}
		var r record
		if r, g.err = b.write(g.w); g.err != nil {
			return
		}
		g.index = append(g.index, r)
	}
}

// goBlock is a part of the tar on its way through the encoder, which starts
// before the block is full.
type goBlock struct {
	ctx  context.Context
	done chan struct{} // closed when the rest is final

	mu    sync.Mutex
	cond  sync.Cond
	text  []byte
	taken int  // of text, by the encoder
	whole bool // no more text will come

	lzma2 bytes.Buffer
	check hash.Hash
	err   error
}

// fill takes from p what fits into the block. Nothing fits into a full one.
func (b *goBlock) fill(p []byte) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(p), cap(b.text)-len(b.text))
	b.text = append(b.text, p[:n]...)
	b.whole = len(b.text) == cap(b.text)
	b.cond.Broadcast()
	return n
}

// end says that no more comes.
func (b *goBlock) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.whole = true
	b.cond.Broadcast()
}

// next waits for text that the encoder has not had yet; there is none at the
// end.
func (b *goBlock) next() ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.text) == b.taken && !b.whole && b.ctx.Err() == nil {
		b.cond.Wait()
	}
	text := b.text[b.taken:]
	b.taken = len(b.text)
	if b.ctx.Err() != nil {
		return nil, context.Cause(b.ctx)
	}
	return text, nil
}

// compress encodes the block. Nearly all of it is text in which the position of
// a byte says nothing and the byte before says much: PB is 0 and LC 4.
func (b *goBlock) compress() error {
	out, err := lzma.Writer2Config{Properties: &lzma.Properties{LC: 4}, DictCap: goDictBytes}.NewWriter2(&b.lzma2)
	if err != nil {
		return err
	}
	b.check = checks[goCheck].make()
	for {
		text, err := b.next()
		if err != nil {
			return err
		}
		if len(text) == 0 {
			return out.Close()
		}
		b.check.Write(text)
		if _, err := out.Write(text); err != nil {
			return err
		}
	}
}

// write writes the finished block, its sizes in its header.
func (b *goBlock) write(w io.Writer) (record, error) {
	sizes := binary.AppendUvarint(nil, uint64(b.lzma2.Len()))
	sizes = binary.AppendUvarint(sizes, uint64(len(b.text)))
	header := append([]byte{0, 0xc0}, sizes...)
	header = pad(append(header, lzma2Filter, 1, goDictBits))
	header[0] = byte(len(header) / 4) // with the sum, and counted from 0
	header = sum32(header)
	unpadded := len(header) + b.lzma2.Len() + checks[goCheck].size
	tail := b.check.Sum(make([]byte, -b.lzma2.Len()&3))
	for _, part := range [][]byte{header, b.lzma2.Bytes(), tail} {
		if _, err := w.Write(part); err != nil {
			return record{}, fmt.Errorf("writing a block: %w", err)
		}
	}
	return record{unpadded: int64(unpadded), size: int64(len(b.text))}, nil
}

// pad adds zeros up to a multiple of four bytes.
func pad(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

// sum32 adds the CRC32 of what is there.
func sum32(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)) }
