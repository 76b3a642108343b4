// SPDX-License-Identifier: BSD-3-Clause

package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// This file reads the .xz container (The .xz File Format, version 1.2.1). The
// library's own reader allocates as much memory as a block's header asks for,
// and exposes nothing about the container. So only the LZMA2 data goes to the
// library.

// block is one independently compressed part of the archive.
type block struct {
	lzma2  []byte
	check  []byte
	size   int64 // uncompressed
	dict   int64
	params string // lc, lp and pb, unless nothing is compressed
}

// container is a parsed .xz file.
type container struct {
	checkName string
	newCheck  func() hash.Hash
	streams   int
	blocks    []block
}

// checks maps the number in the stream's flags to the integrity check.
var checks = map[byte]struct {
	name string
	size int
	make func() hash.Hash
}{
	0x0: {"none", 0, nil},
	0x1: {"crc32", 4, func() hash.Hash { return reversed{crc32.NewIEEE()} }},
	0x4: {"crc64", 8, func() hash.Hash { return reversed{crc64.New(crc64.MakeTable(crc64.ECMA))} }},
	0xa: {"sha256", 32, sha256.New},
}

// reversed returns its sum in little-endian order, as .xz stores it.
type reversed struct{ hash.Hash }

func (r reversed) Sum(b []byte) []byte {
	sum := r.Hash.Sum(nil)
	for i := range sum {
		b = append(b, sum[len(sum)-1-i])
	}
	return b
}

const (
	streamHeaderSize = 12 // the footer has the same size
	streamMagic      = "\xfd7zXZ\x00"
	footerMagic      = "YZ"
	lzma2Filter      = 0x21
)

// parseContainer finds the blocks in data, last stream first, and checks
// everything that can be checked without decompressing. tarBytes limits the size
// of the content, dictBytes the memory that a block may ask for.
func parseContainer(data []byte, tarBytes, dictBytes int64) (container, error) {
	var c container
	for end := len(data); end > 0; {
		// Zeros may follow a stream, in multiples of four.
		if end >= 4 && zero(data[end-4:end]) {
			end -= 4
			continue
		}
		start, stream, err := parseStream(data[:end], dictBytes)
		if err != nil {
			return container{}, err
		}
		if c.streams > 0 && stream.checkName != c.checkName {
			return container{}, badFormat("its xz streams have different checks, %s and %s", stream.checkName, c.checkName)
		}
		stream.streams = c.streams + 1
		stream.blocks = append(stream.blocks, c.blocks...)
		c = stream
		end = start
	}
	if c.streams == 0 {
		return container{}, badFormat("it is empty")
	}
	total := int64(0)
	for _, b := range c.blocks {
		if total += b.size; b.size > tarBytes || total > tarBytes {
			return container{}, &LimitError{What: "bytes of content", Limit: tarBytes}
		}
	}
	return c, nil
}

// parseStream parses the stream at the end of data, and returns where it starts.
func parseStream(data []byte, dictBytes int64) (int, container, error) {
	fail := func(format string, args ...any) (int, container, error) {
		return 0, container{}, badFormat(format, args...)
	}
	if len(data) < 2*streamHeaderSize {
		return fail("it ends early")
	}
	footer := data[len(data)-streamHeaderSize:]
	if string(footer[10:]) != footerMagic {
		if !bytes.HasPrefix(data, []byte(streamMagic)) {
			return fail("it is not compressed with xz")
		}
		return fail("the end of the xz stream is missing")
	}
	if binary.LittleEndian.Uint32(footer) != crc32.ChecksumIEEE(footer[4:10]) {
		return fail("the xz footer is damaged")
	}
	flags := footer[8:10]
	check, ok := checks[flags[1]]
	if flags[0] != 0 || !ok {
		return fail("unknown xz check %#x%02x", flags[0], flags[1])
	}
	indexSize := (int64(binary.LittleEndian.Uint32(footer[4:])) + 1) * 4
	indexStart := int64(len(data)) - streamHeaderSize - indexSize
	if indexStart < streamHeaderSize {
		return fail("the xz index is larger than the file")
	}
	records, err := parseIndex(data[indexStart : indexStart+indexSize])
	if err != nil {
		return 0, container{}, err
	}
	// The blocks end where the index starts.
	start := indexStart - streamHeaderSize
	for _, r := range records {
		if r.unpadded > start {
			return fail("the xz blocks are larger than the file")
		}
		start -= (r.unpadded + 3) &^ 3
	}
	if start < 0 {
		return fail("the xz blocks are larger than the file")
	}
	header := data[start : start+streamHeaderSize]
	if string(header[:6]) != streamMagic {
		return fail("it is not compressed with xz")
	}
	if binary.LittleEndian.Uint32(header[8:]) != crc32.ChecksumIEEE(header[6:8]) || !bytes.Equal(header[6:8], flags) {
		return fail("the xz header is damaged")
	}
	c := container{checkName: check.name, newCheck: check.make, streams: 1}
	at := start + streamHeaderSize
	for _, r := range records {
		end := at + (r.unpadded+3)&^3
		b, err := parseBlock(data[at:end], r, check.size, dictBytes)
		if err != nil {
			return 0, container{}, err
		}
		c.blocks = append(c.blocks, b)
		at = end
	}
	return int(start), c, nil
}

// record is an entry of the index.
type record struct{ unpadded, size int64 }

func parseIndex(data []byte) ([]record, error) {
	body, sum := data[:len(data)-4], data[len(data)-4:]
	if len(body) == 0 || body[0] != 0 || binary.LittleEndian.Uint32(sum) != crc32.ChecksumIEEE(body) {
		return nil, badFormat("the xz index is damaged")
	}
	body = body[1:]
	count, body := number(body)
	// A record takes at least two bytes.
	if count < 0 || count > int64(len(body)/2) {
		return nil, badFormat("the xz index is damaged")
	}
	records := make([]record, count)
	for i := range records {
		records[i].unpadded, body = number(body)
		records[i].size, body = number(body)
		if records[i].unpadded <= 0 || records[i].size < 0 {
			return nil, badFormat("the xz index is damaged")
		}
	}
	if len(body) > 3 || !zero(body) {
		return nil, badFormat("the xz index is damaged")
	}
	return records, nil
}

// parseBlock parses a block: a header, LZMA2 data, padding, and the check.
func parseBlock(data []byte, r record, checkSize int, dictBytes int64) (block, error) {
	fail := func(format string, args ...any) (block, error) { return block{}, badFormat(format, args...) }
	headerSize := (int(data[0]) + 1) * 4
	checkStart := len(data) - checkSize
	lzma2End := int(r.unpadded) - checkSize
	if data[0] == 0 || headerSize >= lzma2End {
		return fail("an xz block header is damaged")
	}
	header := data[:headerSize]
	body, sum := header[:headerSize-4], header[headerSize-4:]
	if binary.LittleEndian.Uint32(sum) != crc32.ChecksumIEEE(body) {
		return fail("an xz block header is damaged")
	}
	if !zero(data[lzma2End:checkStart]) {
		return fail("the padding of an xz block is not zero")
	}
	b := block{lzma2: data[headerSize:lzma2End], check: data[checkStart:], size: r.size}
	flags, rest := body[1], body[2:]
	if flags&0x3f != 0 {
		return fail("an xz block uses a filter other than LZMA2")
	}
	for _, field := range []struct {
		flag byte
		want int64
	}{{0x40, int64(len(b.lzma2))}, {0x80, r.size}} {
		if flags&field.flag == 0 {
			continue
		}
		var got int64
		if got, rest = number(rest); got != field.want {
			return fail("an xz block header and the index differ")
		}
	}
	if len(rest) < 3 || rest[0] != lzma2Filter || rest[1] != 1 || !zero(rest[3:]) {
		return fail("an xz block uses a filter other than LZMA2")
	}
	// The size is 2 or 3 times a power of two, up to 40 for 4 GiB.
	bits := rest[2]
	if bits > 40 {
		return fail("an xz block has an invalid dictionary size")
	}
	b.dict = int64(2|bits&1) << (bits/2 + 11)
	if b.dict > dictBytes {
		return block{}, &LimitError{What: "bytes of xz dictionary", Limit: dictBytes}
	}
	var content int64
	if content, b.params = chunks(b.lzma2); content != r.size {
		return fail("the parts of an xz block do not add up")
	}
	return b, nil
}

// chunks walks the chunks of LZMA2 data. It returns how many bytes they unpack
// to, or -1 when they do not end where data does, and the parameters of the
// first compressed chunk.
func chunks(data []byte) (size int64, params string) {
	for len(data) > 0 {
		control, n := data[0], 3
		switch {
		case control == 0:
			if len(data) > 1 {
				return -1, ""
			}
			return size, params
		case control < 3 && len(data) >= 3: // not compressed
			part := int(binary.BigEndian.Uint16(data[1:])) + 1
			size += int64(part)
			n += part
		case control >= 0x80 && len(data) >= 6:
			size += int64(control&0x1f)<<16 + int64(binary.BigEndian.Uint16(data[1:])) + 1
			n += 2 + int(binary.BigEndian.Uint16(data[3:])) + 1
			if control >= 0xc0 { // with new parameters
				if p := int(data[5]); params == "" {
					params = fmt.Sprintf("lc=%d,lp=%d,pb=%d", p%9, p/9%5, p/45)
				}
				n++
			}
		default:
			return -1, ""
		}
		if n > len(data) {
			return -1, ""
		}
		data = data[n:]
	}
	return -1, ""
}

// number reads a variable-length number. It returns -1 for a malformed one.
func number(data []byte) (int64, []byte) {
	n := int64(0)
	for i, c := range data {
		if i == 9 || i > 0 && c == 0 {
			break
		}
		n |= int64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return n, data[i+1:]
		}
	}
	return -1, nil
}

func zero(data []byte) bool {
	for _, c := range data {
		if c != 0 {
			return false
		}
	}
	return true
}

// reader returns a reader that decompresses the blocks in order.
func (c container) reader() io.Reader {
	return &containerReader{c: c}
}

type containerReader struct {
	c     container
	block *blockReader
}

func (r *containerReader) Read(p []byte) (int, error) {
	for {
		if r.block == nil {
			if len(r.c.blocks) == 0 {
				return 0, io.EOF
			}
			b := r.c.blocks[0]
			r.c.blocks = r.c.blocks[1:]
			in := bytes.NewReader(b.lzma2)
			// The dictionary need not be larger than the content.
			dict := max(lzma.MinDictCap, min(b.dict, b.size))
			out, err := lzma.Reader2Config{DictCap: int(dict)}.NewReader2(in)
			if err != nil {
				return 0, badFormat("decompressing: %v", err)
			}
			r.block = &blockReader{block: b, in: in, out: out}
			if r.c.newCheck != nil {
				r.block.sum = r.c.newCheck()
			}
		}
		n, err := r.block.Read(p)
		if errors.Is(err, io.EOF) {
			r.block, err = nil, nil
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}

// blockReader decompresses and checks one block.
type blockReader struct {
	block
	in  *bytes.Reader
	out io.Reader
	sum hash.Hash // nil without a check
	n   int64
}

func (r *blockReader) Read(p []byte) (int, error) {
	n, err := r.out.Read(p)
	r.n += int64(n)
	if r.n > r.size {
		return 0, badFormat("an xz block is larger than its header says")
	}
	if r.sum != nil {
		r.sum.Write(p[:n])
	}
	if err == nil || n > 0 && errors.Is(err, io.EOF) {
		return n, nil // the next Read sees io.EOF again
	}
	switch {
	case !errors.Is(err, io.EOF):
		return 0, badFormat("decompressing: %v", err)
	case r.n != r.size || r.in.Len() != 0:
		return 0, badFormat("an xz block does not have the size that its header says")
	case r.sum != nil && !bytes.Equal(r.sum.Sum(nil), r.check):
		return 0, badFormat("the integrity check of an xz block fails")
	}
	return 0, io.EOF
}
