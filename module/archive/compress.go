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
	// xzBlockBytes is how much of the tar goes into one block. A kernel's headers
	// make about two blocks; more blocks would make the archive larger. It must
	// not depend on the machine, or the bytes would too.
	xzBlockBytes = 17 << 20
	// xzDictBits is the encoded dictionary size, see [parseBlock]: 22 is 8 MiB.
	xzDictBits  = 22
	xzDictBytes = 8 << 20
	// xzCheck is the number of crc64 among the [checks].
	xzCheck = 0x4
)

// NewXZWriter is a [Compressor] that needs no external program. It is fast, but
// its output is about 30 % larger than the xz program's. It compresses blocks in
// parallel; the bytes do not depend on how many at a time.
func NewXZWriter(ctx context.Context, w io.Writer) (io.WriteCloser, error) {
	return newXZWriter(ctx, w, xzBlockBytes), nil
}

func newXZWriter(ctx context.Context, w io.Writer, blockBytes int) *xzWriter {
	x := &xzWriter{
		ctx: ctx, w: w, blockBytes: blockBytes, slots: make(chan struct{}, runtime.GOMAXPROCS(0)),
		order: make(chan *xzBlock, runtime.GOMAXPROCS(0)), ended: make(chan struct{}),
	}
	go x.emit()
	return x
}

// xzWriter splits what is written to it into blocks.
type xzWriter struct {
	ctx        context.Context
	w          io.Writer
	blockBytes int
	block      *xzBlock      // the one being filled, or nil
	slots      chan struct{} // one element per block being compressed
	order      chan *xzBlock // the blocks, in output order
	ended      chan struct{} // closed when emit has ended
	index      []record      // owned by emit, then by Close
	err        error         // set by emit before it ends
}

func (x *xzWriter) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if x.block == nil {
			if err := x.begin(); err != nil {
				return n, err
			}
		}
		k := x.block.fill(p[n:])
		if n += k; k == 0 {
			x.block = nil
		}
	}
	return n, nil
}

// begin starts a block as soon as a processor is free.
func (x *xzWriter) begin() error {
	select {
	case x.slots <- struct{}{}:
	case <-x.ended: // early: nothing more can be written
		return x.err
	case <-x.ctx.Done():
		return context.Cause(x.ctx)
	}
	b := &xzBlock{ctx: x.ctx, done: make(chan struct{}), text: make([]byte, 0, x.blockBytes)}
	b.cond.L = &b.mu
	x.block = b
	select {
	case x.order <- b:
	case <-x.ended:
		return x.err
	}
	go func() {
		defer func() { <-x.slots }()
		defer close(b.done)
		defer context.AfterFunc(x.ctx, b.cond.Broadcast)()
		b.err = b.compress()
	}()
	return nil
}

// Close ends the stream with the last block, the index and the footer.
func (x *xzWriter) Close() error {
	if x.block != nil {
		x.block.end()
	}
	close(x.order)
	<-x.ended
	if x.err != nil {
		return x.err
	}
	index := []byte{0}
	index = binary.AppendUvarint(index, uint64(len(x.index)))
	for _, r := range x.index {
		index = binary.AppendUvarint(index, uint64(r.unpadded))
		index = binary.AppendUvarint(index, uint64(r.size))
	}
	index = sum32(pad(index))
	footer := binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1))
	footer = append(footer, 0, xzCheck)
	footer = append(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(footer)), footer...)
	_, err := x.w.Write(append(append(index, footer...), footerMagic...))
	return err
}

// emit writes the header, then the blocks in order.
func (x *xzWriter) emit() {
	defer close(x.ended)
	flags := []byte{0, xzCheck}
	header := binary.LittleEndian.AppendUint32(append([]byte(streamMagic), flags...), crc32.ChecksumIEEE(flags))
	if _, x.err = x.w.Write(header); x.err != nil {
		return
	}
	for b := range x.order {
		<-b.done
		if x.err = b.err; x.err != nil {
			return
		}
		var r record
		if r, x.err = b.write(x.w); x.err != nil {
			return
		}
		x.index = append(x.index, r)
	}
}

// xzBlock is a part of the tar on its way through the encoder. The encoder
// starts before the block is full.
type xzBlock struct {
	ctx  context.Context
	done chan struct{} // closed when the other fields no longer change

	mu    sync.Mutex
	cond  sync.Cond
	text  []byte
	taken int  // how much of text the encoder has
	whole bool // no more text will come

	lzma2 bytes.Buffer
	check hash.Hash
	err   error
}

// fill takes as much of p as fits into the block: 0 bytes when it is full.
func (b *xzBlock) fill(p []byte) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(p), cap(b.text)-len(b.text))
	b.text = append(b.text, p[:n]...)
	b.whole = len(b.text) == cap(b.text)
	b.cond.Broadcast()
	return n
}

// end marks the block as complete.
func (b *xzBlock) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.whole = true
	b.cond.Broadcast()
}

// next waits for text that the encoder has not seen yet. It returns none at the
// end of the block.
func (b *xzBlock) next() ([]byte, error) {
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

// compress encodes the block. Nearly all of it is text, where a byte's position
// predicts nothing and the byte before it a lot: hence PB 0 and LC 4.
func (b *xzBlock) compress() error {
	out, err := lzma.Writer2Config{Properties: &lzma.Properties{LC: 4}, DictCap: xzDictBytes}.NewWriter2(&b.lzma2)
	if err != nil {
		return err
	}
	b.check = checks[xzCheck].make()
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

// write writes the finished block, with its sizes in the header.
func (b *xzBlock) write(w io.Writer) (record, error) {
	sizes := binary.AppendUvarint(nil, uint64(b.lzma2.Len()))
	sizes = binary.AppendUvarint(sizes, uint64(len(b.text)))
	header := append([]byte{0, 0xc0}, sizes...)
	header = pad(append(header, lzma2Filter, 1, xzDictBits))
	header[0] = byte(len(header) / 4) // words, including the checksum, minus one
	header = sum32(header)
	unpadded := len(header) + b.lzma2.Len() + checks[xzCheck].size
	tail := b.check.Sum(make([]byte, -b.lzma2.Len()&3))
	for _, part := range [][]byte{header, b.lzma2.Bytes(), tail} {
		if _, err := w.Write(part); err != nil {
			return record{}, fmt.Errorf("writing a block: %w", err)
		}
	}
	return record{unpadded: int64(unpadded), size: int64(len(b.text))}, nil
}

// pad appends zeros up to a multiple of four bytes.
func pad(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

// sum32 appends the CRC32 of b to b.
func sum32(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)) }
