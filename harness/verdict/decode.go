// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"

	"github.com/kheaders/kheaders/initramfs/wire"
)

const (
	// maxRaw is how much of a malformed line is kept, in bytes.
	maxRaw = 256
	// maxName is the longest name of a test or a fact, in bytes.
	maxName = 512
)

// errTooLong says that a line is longer than wire.MaxLine.
var errTooLong = fmt.Errorf("longer than %d bytes", wire.MaxLine)

// Line is one line from the event port: an event, or what was wrong with it.
type Line struct {
	// Event is valid when Err is nil.
	Event wire.Event
	// Err says why the line is malformed.
	Err error
	// Raw is the start of a malformed line, at most 256 bytes.
	Raw string
}

// Decoder splits the byte stream of the event port into lines and decodes them.
// It accepts any bytes, in pieces of any size, and buffers at most wire.MaxLine
// bytes. It is not safe for concurrent use.
type Decoder struct {
	handle func(Line)
	buf    []byte
	// over says that buf has the start of a line that is too long.
	over bool
}

// NewDecoder returns a decoder that hands each line to handle, in order, on
// the goroutine that calls Write or Close.
func NewDecoder(handle func(Line)) *Decoder { return &Decoder{handle: handle} }

// Write takes the next bytes of the stream. It never fails.
func (d *Decoder) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			d.take(p)
			return n, nil
		}
		d.take(p[:i])
		d.end(nil)
		p = p[i+1:]
	}
}

// Close ends the stream. Anything after the last newline is a truncated line,
// and thus malformed.
func (d *Decoder) Close() error {
	if len(d.buf) > 0 {
		d.end(io.ErrUnexpectedEOF)
	}
	return nil
}

// take adds part of a line.
func (d *Decoder) take(p []byte) {
	// The newline counts as well, so there is one byte less.
	if room := wire.MaxLine - 1 - len(d.buf); len(p) > room {
		d.over = true
		p = p[:room]
	}
	d.buf = append(d.buf, p...)
}

// end hands over the line in the buffer.
func (d *Decoder) end(err error) {
	line := Line{Err: err}
	switch {
	case err != nil:
	case d.over:
		line.Err = errTooLong
	default:
		line.Event, line.Err = decode(d.buf)
	}
	if line.Err != nil {
		line.Event = wire.Event{}
		line.Raw = clip(Printable(string(d.buf[:min(len(d.buf), 2*maxRaw)])), maxRaw)
	}
	d.buf, d.over = d.buf[:0], false
	d.handle(line)
}

// decode reads one event. Unknown fields are an error, because guest and host
// are built together. The exception is the greeting of a guest that speaks
// another version: we must understand it to refuse it.
func decode(line []byte) (wire.Event, error) {
	if len(bytes.TrimSpace(line)) == 0 {
		return wire.Event{}, errors.New("an empty line")
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	var e wire.Event
	err := dec.Decode(&e)
	if err == nil {
		// Nothing may follow the object.
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			return wire.Event{}, errors.New("more than one JSON value")
		}
		return e, valid(e)
	}
	var lenient wire.Event
	if json.Unmarshal(line, &lenient) == nil && lenient.Kind == wire.KindHello && lenient.Version != wire.Version {
		return lenient, nil
	}
	return wire.Event{}, fmt.Errorf("no event: %w", err)
}

// valid reports whether an event has what its kind needs.
func valid(e wire.Event) error {
	if e.Uptime < 0 || e.Elapsed < 0 {
		return fmt.Errorf("%s with a negative time", e.Kind)
	}
	if !named(e.Test) && e.Test != "" {
		return fmt.Errorf("%s with a test name that is too long or does not print", e.Kind)
	}
	switch e.Kind {
	case wire.KindHello, wire.KindOutput, wire.KindExit, wire.KindFail, wire.KindDeadline, wire.KindDone:
	case wire.KindStart:
		if e.Test == "" {
			return errors.New("start without a test")
		}
	case wire.KindAttr:
		if !named(e.Key) {
			return errors.New("attr without a proper key")
		}
	case wire.KindEnd:
		if e.Test == "" {
			return errors.New("end without a test")
		}
		switch e.Status {
		case wire.StatusPass, wire.StatusFail, wire.StatusSkip:
		default:
			return fmt.Errorf("end with the unknown status %q", clip(string(e.Status), maxRaw))
		}
	default:
		return fmt.Errorf("unknown kind %q", clip(string(e.Kind), maxRaw))
	}
	return nil
}

// named reports whether s can be the name of a test or a fact: not empty, of
// bounded length, and of printing characters without spaces, as package testing
// makes them.
func named(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for _, r := range s {
		if r == utf8.RuneError || r == ' ' || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
