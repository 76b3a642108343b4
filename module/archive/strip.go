// SPDX-License-Identifier: BSD-3-Clause

package archive

import "bytes"

// Strip appends src, a C header, to dst without its block comments and blank
// lines, and returns the result.
//
// It reads the text as the preprocessor's lexer does. What looks like a comment
// inside a string, a character constant, a header name or a // comment is not
// one. An unmatched quote, as in assembler text, extends to the end of its line.
// // comments and comments that contain "SPDX" stay.
//
// The preprocessor reads the same tokens from the result, with white space
// between the same ones: a comment between two tokens becomes a blank. Blanks
// before a comment at the end of a line go with the comment, and a line that
// has only comments goes altogether. Everything else stays byte for byte.
func Strip(dst, src []byte) []byte {
	s := stripper{src: src, dst: dst, base: len(dst), expect: expectHash}
	s.run()
	return s.dst
}

// expect is what the lexer looks for in a directive: a header name is a token
// only after #include.
type expect uint8

const (
	expectNothing expect = iota
	expectHash           // at the start of a line
	expectName           // after #
	expectHeader         // after #include
)

type stripper struct {
	src  []byte
	dst  []byte
	base int // where our part of dst starts
	from int // src[from:pos] still has to be copied
	pos  int

	expect expect
}

// plain marks the bytes that need no attention in the main loop.
var plain = func() (t [256]bool) {
	for i := range t {
		t[i] = true
	}
	for _, c := range "\n/\"'\\" {
		t[c] = false
	}
	return t
}()

func (s *stripper) run() {
	s.skipBlankLines()
	for s.pos < len(s.src) {
		if s.expect != expectNothing && s.directive() {
			continue
		}
		switch c := s.src[s.pos]; c {
		case '\n':
			s.newline()
		case '/':
			s.slash()
		case '"', '\'':
			s.quote(c)
		case '\\':
			if end := spliceEnd(s.src, s.pos); end > 0 {
				s.pos = end
			} else {
				s.pos++
			}
		default:
			i := s.pos + 1
			for i < len(s.src) && plain[s.src[i]] {
				i++
			}
			s.pos = i
		}
	}
	s.flush()
}

// directive consumes the tokens that matter at the start of a line and after
// #include. It reports whether it consumed anything; the main loop takes the
// rest.
func (s *stripper) directive() bool {
	c := s.src[s.pos]
	switch {
	case isBlank(c):
		s.pos++
		return true
	case c == '/' || c == '\\':
		// A comment or a continuation does not change what to expect. Any
		// other token ends the part that matters here.
		before := s.expect
		next := skipSplices(s.src, s.pos+1)
		comment := c == '/' && next < len(s.src) && s.src[next] == '*'
		if comment {
			s.slash()
			s.expect = before
			return true
		}
		if end := spliceEnd(s.src, s.pos); end > 0 {
			s.pos = end
			return true
		}
	case s.expect == expectHash && c == '#':
		s.expect = expectName
		s.pos++
		return true
	case s.expect == expectHash && c == '%' && s.pos+1 < len(s.src) && s.src[s.pos+1] == ':':
		s.expect = expectName
		s.pos += 2
		return true
	case s.expect == expectName && isIdent(c):
		var name []byte
		for i := s.pos; i < len(s.src) && isIdent(s.src[i]); {
			name = append(name, s.src[i])
			i++
			s.pos = i
			i = skipSplices(s.src, i)
		}
		s.expect = expectNothing
		switch string(name) {
		case "include", "include_next", "import", "embed":
			s.expect = expectHeader
		}
		return true
	case s.expect == expectHeader && (c == '<' || c == '"'):
		// A header name has no escapes.
		s.expect = expectNothing
		last := c
		if c == '<' {
			last = '>'
		}
		for i := skipSplices(s.src, s.pos+1); i < len(s.src) && s.src[i] != '\n'; {
			if s.src[i] == last {
				s.pos = i + 1
				return true
			}
			i = skipSplices(s.src, i+1)
		}
	}
	s.expect = expectNothing
	return false
}

// newline skips the end of a logical line.
func (s *stripper) newline() {
	s.pos++
	s.expect = expectHash
	s.skipBlankLines()
}

// skipBlankLines drops the blank lines that start here. The line before must not
// continue into them.
func (s *stripper) skipBlankLines() {
	for i := s.pos; ; {
		for i < len(s.src) && isBlank(s.src[i]) {
			i++
		}
		end := newlineEnd(s.src, i)
		if end == 0 {
			return
		}
		s.flush()
		s.pos, s.from = end, end
		if i = end; i == len(s.src) {
			return
		}
	}
}

// slash handles a comment, or a lone slash.
func (s *stripper) slash() {
	start := s.pos
	next := skipSplices(s.src, start+1)
	if next == len(s.src) {
		s.pos = next
		return
	}
	switch s.src[next] {
	case '/':
		s.pos = lineEnd(s.src, next+1)
		s.expect = expectNothing
	case '*':
		end := commentEnd(s.src, next+1)
		if end < 0 {
			// Not terminated. Keep it all, so that the compiler complains
			// about the same text as before.
			s.pos = len(s.src)
			return
		}
		s.comment(start, end)
	default:
		s.pos = start + 1
	}
}

// comment removes the comment src[start:end], unless it has to stay.
func (s *stripper) comment(start, end int) {
	s.pos = end
	if bytes.Contains(s.src[start:end], []byte("SPDX")) {
		return
	}
	s.pos = start
	s.flush()
	line := s.lineStart()
	before := bytes.TrimRight(s.dst[line:], " \t")
	s.pos = end
	if len(before) > 0 && before[len(before)-1] == '\\' {
		// Without the comment, this backslash might end the line, and so
		// continue it.
		return
	}
	for s.pos < len(s.src) && isBlank(s.src[s.pos]) {
		s.pos++
	}
	s.from = s.pos
	end = newlineEnd(s.src, s.pos)
	switch {
	case end > 0:
		s.dst = s.dst[:line+len(before)]
		if len(before) == 0 && !s.continued(line) {
			s.pos, s.from = end, end
			s.expect = expectHash
			s.skipBlankLines()
		}
	default:
		if len(s.dst) == s.base || !isBlank(s.dst[len(s.dst)-1]) {
			s.dst = append(s.dst, ' ')
		}
	}
}

// quote skips a string or a character constant.
func (s *stripper) quote(mark byte) {
	if mark == '"' && isRaw(s.src[:s.pos]) {
		if end := rawEnd(s.src, s.pos+1); end > 0 {
			s.pos = end
			return
		}
	}
	i := s.pos + 1
	for i < len(s.src) {
		switch s.src[i] {
		case mark:
			s.pos = i + 1
			return
		case '\n':
			s.pos = i
			return
		case '\\':
			if end := spliceEnd(s.src, i); end > 0 {
				i = end
				continue
			}
			// The escaped character, unless the line ends here.
			i = skipSplices(s.src, i+1)
			if i < len(s.src) && s.src[i] != '\n' {
				i++
			}
		default:
			i++
		}
	}
	s.pos = len(s.src)
}

// flush copies everything up to pos that was not copied yet.
func (s *stripper) flush() {
	s.dst = append(s.dst, s.src[s.from:s.pos]...)
	s.from = s.pos
}

// lineStart returns where the last line of dst starts.
func (s *stripper) lineStart() int {
	return bytes.LastIndexByte(s.dst[s.base:], '\n') + 1 + s.base
}

// continued reports whether the line that starts at dst[line] continues the one
// before it.
func (s *stripper) continued(line int) bool {
	if line == s.base {
		return false
	}
	return endsInSplice(s.dst[s.base : line-1])
}
