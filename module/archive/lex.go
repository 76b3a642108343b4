// SPDX-License-Identifier: BSD-3-Clause

package archive

import "bytes"

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func isIdent(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
}

// newlineEnd returns the end of the line break at src[i], or 0 when there is
// none. The end of the text counts as a line break.
func newlineEnd(src []byte, i int) int {
	switch {
	case i == len(src):
		return i
	case src[i] == '\n':
		return i + 1
	case src[i] == '\r' && i+1 < len(src) && src[i+1] == '\n':
		return i + 2
	}
	return 0
}

// spliceEnd returns the end of the line continuation that starts at src[i], or
// 0 when there is none. Compilers allow blanks between the backslash and the end
// of the line.
func spliceEnd(src []byte, i int) int {
	if src[i] != '\\' {
		return 0
	}
	for i++; i < len(src); i++ {
		switch src[i] {
		case ' ', '\t', '\f', '\v':
		default:
			return newlineEnd(src, i)
		}
	}
	return 0
}

// endsInSplice reports whether line, which ended in a newline, continues on the
// next one.
func endsInSplice(line []byte) bool {
	line = bytes.TrimRight(bytes.TrimSuffix(line, []byte("\r")), " \t\f\v")
	return len(line) > 0 && line[len(line)-1] == '\\'
}

// skipSplices returns the first position from i on that does not start a line
// continuation.
func skipSplices(src []byte, i int) int {
	for i < len(src) {
		end := spliceEnd(src, i)
		if end == 0 {
			break
		}
		i = end
	}
	return i
}

// lineEnd returns the position of the newline that ends the logical line around
// src[i], or the end of src.
func lineEnd(src []byte, i int) int {
	start := i
	for {
		n := bytes.IndexByte(src[i:], '\n')
		if n < 0 {
			return len(src)
		}
		i += n
		if !endsInSplice(src[start:i]) {
			return i
		}
		i++
		start = i
	}
}

// commentEnd returns the end of the block comment that has its text at src[i],
// or -1 when the comment is not terminated.
func commentEnd(src []byte, i int) int {
	for {
		n := bytes.IndexByte(src[i:], '*')
		if n < 0 {
			return -1
		}
		i += n + 1
		if end := skipSplices(src, i); end < len(src) && src[end] == '/' {
			return end + 1
		}
	}
}

// isRaw reports whether a quote after text opens a raw string, which GNU C takes
// from C++: R"delimiter(text)delimiter".
func isRaw(text []byte) bool {
	i := len(text)
	for i > 0 && isIdent(text[i-1]) && len(text)-i < 4 {
		i--
	}
	switch string(text[i:]) {
	case "R", "LR", "uR", "UR", "u8R":
		return true
	}
	return false
}

// rawEnd returns the end of the raw string that has its delimiter at src[i], or
// 0 when there is none.
func rawEnd(src []byte, i int) int {
	open := bytes.IndexByte(src[i:min(len(src), i+17)], '(')
	if open < 0 || bytes.ContainsAny(src[i:i+open], " )\\\t\v\f\n\r\"") {
		return 0
	}
	last := append([]byte{')'}, src[i:i+open]...)
	last = append(last, '"')
	n := bytes.Index(src[i+open:], last)
	if n < 0 {
		return 0
	}
	return i + open + n + len(last)
}
