// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"github.com/kheaders/kheaders/initramfs/wire"
)

// What is kept of a console is bounded, whatever the guest prints.
const (
	// maxPiece is the longest line, in bytes, that is matched as a whole. A
	// longer one is matched in overlapping pieces.
	maxPiece = 4 << 10
	// overlap is how much of a piece is matched again with the next one. No
	// recogniser needs more.
	overlap = 256
	// maxKept is how much is kept of each line, in bytes.
	maxKept = 256
	// maxReport is the largest number of lines in a report. An oops under KASAN
	// needs about 40.
	maxReport = 48
	// maxFindings is how many reports are kept. The rest are counted.
	maxFindings = 16
	// maxRecent is how many of the last lines are kept.
	maxRecent = 8
)

// Console is what the console showed.
type Console struct {
	// Bytes counts the bytes that were printed.
	Bytes int64
	// Findings are the reports in order, at most 16. Dropped counts those that
	// did not fit. A panic is always among the findings.
	Findings []Finding
	Dropped  int
	// Recent are the last lines that were not empty, at most 8.
	Recent []string
}

// Scanner finds the kernel's reports in a console's bytes. It takes any bytes,
// in pieces of any size, and its memory is bounded. It is safe for concurrent
// use, because console and events arrive on different goroutines.
type Scanner struct {
	allow Allowlist
	table []recogniser

	mu   sync.Mutex
	con  Console
	buf  []byte
	test string
	// marked says that tests announce themselves on the console.
	marked bool
	// open is the report that lines are added to. rank is the index in the table
	// of the recogniser that named it.
	open *Finding
	rank int
	left int
	// continued says that the start of the buffer was matched already, as the
	// end of a piece. seen is the recogniser of that piece.
	continued bool
	seen      int
	// echoes says that the line repeats the kernel's command line.
	echoes bool
}

// NewScanner returns a scanner that ignores what the list allows.
func NewScanner(allow Allowlist) *Scanner {
	return newScanner(allow, recognisers)
}

func newScanner(allow Allowlist, table []recogniser) *Scanner {
	return &Scanner{allow: allow, table: table, seen: len(table)}
}

// SetTest says which test is running now; empty means none.
func (s *Scanner) SetTest(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.marked {
		s.test = name
	}
}

// Write takes the next bytes. It never fails.
func (s *Scanner) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(p)
	s.con.Bytes += int64(n)
	for len(p) > 0 {
		end := bytes.IndexAny(p, "\r\n")
		part := p
		if end >= 0 {
			part = p[:end]
		}
		for len(part) > 0 {
			k := min(len(part), maxPiece-len(s.buf))
			s.buf = append(s.buf, part[:k]...)
			part = part[k:]
			if len(s.buf) == maxPiece {
				s.line(string(s.buf))
				s.buf = append(s.buf[:0], s.buf[maxPiece-overlap:]...)
				s.continued = true
			}
		}
		if end < 0 {
			break
		}
		s.flush()
		p = p[end+1:]
	}
	return n, nil
}

// Console returns what has been found. It is meant for the end of a run: an
// unfinished line is matched as far as it goes, and later bytes start a new
// one.
func (s *Scanner) Console() Console {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	con := s.con
	con.Findings = slices.Clone(s.con.Findings)
	for i := range con.Findings {
		f := &con.Findings[i]
		f.Lines, f.Signs = slices.Clone(f.Lines), slices.Clone(f.Signs)
		f.Allowed = s.allow.reason(*f)
	}
	con.Recent = slices.Clone(s.con.Recent)
	return con
}

// flush ends the line in the buffer.
func (s *Scanner) flush() {
	// After a long line, the overlap alone has been matched before.
	if len(s.buf) > 0 && (!s.continued || len(s.buf) > overlap) {
		s.line(string(s.buf))
	}
	s.buf, s.continued, s.echoes, s.seen = s.buf[:0], false, false, len(s.table)
}

// line handles one line, or one piece of a long one.
func (s *Scanner) line(raw string) {
	list := messages(raw, s.continued, s.echoes)
	s.echoes = len(list) > 0 && list[len(list)-1].echo
	text := raw
	if !s.continued {
		text = raw[list[0].at:]
	}
	if strings.TrimSpace(text) == "" {
		return
	}
	if name, ok := strings.CutPrefix(text, wire.ConsoleMarker); ok {
		if name = strings.TrimSpace(name); name == "" || named(name) {
			s.test, s.marked = name, true
			return
		}
	}

	rank, m := recognise(s.table, raw, list)
	// The end of a long line matters as little as its middle, unless a
	// recogniser matched there.
	kept := clip(Printable(raw[:min(len(raw), 2*maxKept)]), maxKept)
	if rank < len(s.table) {
		kept = window(raw, m.at)
	}
	if len(s.con.Recent) == maxRecent {
		s.con.Recent = slices.Delete(s.con.Recent, 0, 1)
	}
	s.con.Recent = append(s.con.Recent, kept)

	switch {
	case rank == len(s.table):
		s.keep(kept)
	case s.continued && rank == s.seen:
		// Most likely the same text, in the part that is matched twice.
	default:
		s.found(rank, kept, m)
	}
	s.seen = rank
	if strings.Contains(text, "---[ end ") {
		s.open = nil
	}
}

// recognise returns the rank of the first recogniser in the table that knows
// one of a line's messages, and that message. Without one, the rank is the
// table's length.
func recognise(table []recogniser, line string, list []message) (int, message) {
	// The kernel's word ends where the command line begins.
	said := line
	if n := len(list); n > 0 && list[n-1].echo {
		said, list = line[:list[n-1].at], list[:n-1]
	}
	for i, m := range list {
		if n := len(lead.FindString(m.text)); n > 0 {
			list[i].bare = m.text[n:]
		}
	}
	for rank := range table {
		r := &table[rank]
		for _, m := range list {
			if r.matches(m) {
				return rank, m
			}
		}
		if !r.panic {
			continue
		}
		for _, text := range r.any {
			if i := strings.Index(said, text); i >= 0 {
				return rank, around(line, list, i)
			}
		}
	}
	return len(table), message{uptime: -1}
}

// around returns the message that a place in a line is in, or what begins there
// if the message has no start or a distant one.
func around(line string, list []message, at int) message {
	found := message{text: line[at:], at: at, uptime: -1}
	for _, m := range list {
		if m.at > at {
			break
		}
		if found.uptime = m.uptime; at-m.at <= maxKept/2 {
			found.text, found.at = m.text, m.at
		}
	}
	return found
}

// found records that a recogniser matched the line.
func (s *Scanner) found(rank int, kept string, m message) {
	r := &s.table[rank]
	title := clip(Printable(m.text[:min(len(m.text), 2*maxKept)]), maxKept)
	if s.open != nil && !r.panic && !s.opens(r) {
		// This is one report with several signs. The most telling one names it.
		if rank < s.rank {
			s.open.Name, s.open.Title, s.rank = r.name, title, rank
		}
		if !slices.Contains(s.open.Signs, r.name) {
			s.open.Signs = append(s.open.Signs, r.name)
		}
		s.keep(kept)
		return
	}
	s.open = nil
	f := Finding{Name: r.name, Panic: r.panic, Title: title, Test: s.test, Uptime: m.uptime, Signs: []string{r.name}}
	s.rank, s.left = rank, maxReport
	if len(s.con.Findings) == maxFindings {
		s.con.Dropped++
		// A panic is worth more than the last of many warnings. Any other report
		// is followed to its end, so that it is counted once.
		if !r.panic || s.con.Findings[maxFindings-1].Panic {
			s.open = &f
			return
		}
		s.con.Findings = s.con.Findings[:maxFindings-1]
	}
	s.con.Findings = append(s.con.Findings, f)
	s.open = &s.con.Findings[len(s.con.Findings)-1]
	s.keep(kept)
}

// opens reports whether a recogniser's line starts a report of its own while
// another is open. A line right after "cut here" belongs to that.
func (s *Scanner) opens(r *recogniser) bool {
	return r.starts && s.open.Name != "cut-here"
}

// keep adds a line to the open report.
func (s *Scanner) keep(line string) {
	if s.open == nil {
		return
	}
	s.open.Lines = append(s.open.Lines, line)
	if s.left--; s.left == 0 {
		s.open = nil
	}
}

// window clips a long line so that what begins at a place stays in it.
func window(raw string, at int) string {
	from := 0
	if at > maxKept/2 {
		from = at
		// Keep the timestamp or the name before it.
		if i := strings.LastIndexByte(raw[at-maxKept/4:at], '['); i >= 0 {
			from = at - maxKept/4 + i
		}
	}
	return clip(Printable(raw[from:min(len(raw), from+2*maxKept)]), maxKept)
}
