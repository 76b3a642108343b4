// SPDX-License-Identifier: BSD-3-Clause

// Package gotest turns the output of a Go test binary under -test.v=test2json
// into events, as it comes in.
//
// In that mode the testing package puts a ^V (0x16) before each of its own
// lines, even in the middle of a line of output:
//
//	=== RUN   Name
//	=== PAUSE Name
//	=== CONT  Name
//	=== NAME  Name
//	=== ATTR  Name key value
//	--- PASS: Name (0.00s)
//
// RUN, ATTR and the reports (PASS, FAIL, SKIP) become events. The others only
// name the test that the following output belongs to. Everything else is output,
// including marked lines of unknown form, without their mark. cmd/test2json
// defines the format.
package gotest

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kheaders/kheaders/initramfs/wire"
)

// MaxPiece is the maximum length in bytes of a marked line, and of the output in
// one event. A longer marked line counts as output, and longer output is split.
// Text can grow sixfold in JSON (control characters), so an event with a test's
// name and output of this size still fits in wire.MaxLine.
const MaxPiece = 2 << 10

const marker = 0x16

// Parser turns a test binary's output into events. It buffers at most two pieces
// of MaxPiece bytes. Use New to make one.
type Parser struct {
	emit func(wire.Event)
	// test is the test that unmarked output belongs to; empty when unknown.
	test string
	// inFrame is true while frame has the start of a marked line, without its
	// mark.
	inFrame bool
	frame   []byte
	// out is output of test that was not emitted yet.
	out []byte
}

// New returns a parser that calls emit for each event. Only Kind, Test,
// Status, Elapsed, Key, Value and Output are set.
func New(emit func(wire.Event)) *Parser {
	return &Parser{
		emit:  emit,
		frame: make([]byte, 0, MaxPiece),
		out:   make([]byte, 0, MaxPiece),
	}
}

// Write parses the next piece of output. It never fails.
func (p *Parser) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if b[0] == marker {
			p.frameToOutput() // this one cuts it short
			p.inFrame = true
			b = b[1:]
			continue
		}
		end := bytes.IndexByte(b, marker)
		if end < 0 {
			end = len(b)
		}
		if p.inFrame {
			if i := bytes.IndexByte(b[:end], '\n'); i >= 0 {
				end = i + 1
			}
			p.writeFrame(b[:end])
		} else {
			p.output(b[:end])
		}
		b = b[end:]
	}
	return n, nil
}

// Flush emits the buffered lines of output. A partial line waits for its rest.
func (p *Parser) Flush() {
	p.emitOutput(bytes.LastIndexByte(p.out, '\n') + 1)
}

// Close emits everything in the buffers. The last marked line needs no newline.
func (p *Parser) Close() {
	if p.inFrame {
		p.endFrame()
	}
	p.emitOutput(len(p.out))
}

// writeFrame adds b to the marked line. b may have a newline only at its end.
func (p *Parser) writeFrame(b []byte) {
	if len(p.frame)+len(b) > MaxPiece {
		p.frameToOutput()
		p.output(b)
		return
	}
	p.frame = append(p.frame, b...)
	if b[len(b)-1] == '\n' {
		p.endFrame()
	}
}

// frameToOutput gives up on the marked line read so far.
func (p *Parser) frameToOutput() {
	p.output(p.frame)
	p.inFrame, p.frame = false, p.frame[:0]
}

// endFrame interprets a complete marked line.
func (p *Parser) endFrame() {
	line := strings.TrimRight(string(p.frame), "\r\n")
	e, test, ok := parseFrame(line)
	if !ok {
		if line == "PASS" || line == "FAIL" {
			// The binary's verdict belongs to no test.
			p.setTest("")
		}
		p.frameToOutput()
		return
	}
	p.inFrame, p.frame = false, p.frame[:0]
	p.setTest(test)
	if e.Kind != "" {
		p.emitOutput(len(p.out))
		p.emit(e)
	}
}

// setTest names the owner of the output that follows.
func (p *Parser) setTest(name string) {
	if name != p.test {
		p.emitOutput(len(p.out))
		p.test = name
	}
}

func (p *Parser) output(b []byte) {
	for len(b) > 0 {
		n := min(len(b), MaxPiece-len(p.out))
		p.out = append(p.out, b[:n]...)
		b = b[n:]
		if len(p.out) == MaxPiece {
			p.emitOutput(len(p.out) - cutRune(p.out))
		}
	}
}

// emitOutput emits the first n bytes of output.
func (p *Parser) emitOutput(n int) {
	if n == 0 {
		return
	}
	p.emit(wire.Event{Kind: wire.KindOutput, Test: p.test, Output: string(p.out[:n])})
	p.out = p.out[:copy(p.out, p.out[n:])]
}

// cutRune returns the length of the incomplete UTF-8 sequence at the end of b,
// or 0.
func cutRune(b []byte) int {
	for n := 1; n < utf8.UTFMax && n < len(b); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// reports are the results a test can have, as the testing package prints them.
var reports = []struct {
	prefix string
	status wire.Status
}{
	{"--- PASS: ", wire.StatusPass},
	{"--- FAIL: ", wire.StatusFail},
	{"--- SKIP: ", wire.StatusSkip},
}

// parseFrame interprets a marked line, without its mark and newline. It returns
// the event, with an empty Kind if there is none to emit, and the test that the
// following output belongs to.
func parseFrame(line string) (e wire.Event, test string, ok bool) {
	if line == "=== NAME" {
		// The name is empty, and the trailing blanks got lost.
		return wire.Event{}, "", true
	}
	if rest, found := strings.CutPrefix(line, "=== "); found {
		action, rest, _ := strings.Cut(rest, " ")
		rest = strings.TrimSpace(rest)
		switch action {
		case "RUN":
			return wire.Event{Kind: wire.KindStart, Test: rest}, rest, validName(rest)
		case "NAME":
			return wire.Event{}, rest, rest == "" || validName(rest)
		case "PAUSE", "CONT":
			return wire.Event{}, rest, validName(rest)
		case "ATTR":
			name, rest, _ := strings.Cut(rest, " ")
			key, value, _ := strings.Cut(rest, " ")
			return wire.Event{Kind: wire.KindAttr, Test: name, Key: key, Value: value}, name, validName(name) && key != ""
		}
		return wire.Event{}, "", false
	}
	line = strings.TrimLeft(line, " ")
	for _, r := range reports {
		rest, found := strings.CutPrefix(line, r.prefix)
		if !found {
			continue
		}
		name, elapsed, _ := strings.Cut(rest, " ")
		seconds, ok := parseElapsed(elapsed)
		return wire.Event{Kind: wire.KindEnd, Test: name, Status: r.status, Elapsed: seconds}, name, ok && validName(name)
	}
	return wire.Event{}, "", false
}

// validName reports whether a test can have that name. The testing package
// replaces blanks in names.
func validName(name string) bool {
	return name != "" && !strings.Contains(name, " ")
}

// parseElapsed reads "(1.23s)".
func parseElapsed(s string) (seconds float64, ok bool) {
	s, open := strings.CutPrefix(s, "(")
	s, end := strings.CutSuffix(s, "s)")
	seconds, err := strconv.ParseFloat(s, 64)
	ok = open && end && err == nil && seconds >= 0 && !math.IsInf(seconds, 0)
	if !ok {
		// ParseFloat accepts NaN and Inf, which JSON cannot express.
		return 0, false
	}
	return seconds, true
}
