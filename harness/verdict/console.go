// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/kheaders/kheaders/initramfs/wire"
)

// The bounds of what is kept of a console, whatever is printed.
const (
	// maxPiece is the longest line that is looked at as a whole, in bytes.
	// A longer one is looked at in pieces that overlap.
	maxPiece = 4 << 10
	// overlap is how much of a piece is looked at again with the next one.
	// No recogniser needs more.
	overlap = 256
	// maxKept is how much is kept of each line, in bytes.
	maxKept = 256
	// maxReport is how many lines belong to a report at most. An oops under
	// KASAN needs about 40.
	maxReport = 48
	// maxFindings is how many reports are kept. The rest is counted.
	maxFindings = 16
	// maxRecent is how many of the last lines are kept.
	maxRecent = 8
)

// Console is what is known of the console.
type Console struct {
	// Bytes counts what was printed.
	Bytes int64
	// Findings are the reports in order, at most 16; Dropped counts those
	// that found no room. A panic is always among the findings.
	Findings []Finding
	Dropped  int
	// Recent are the last lines that were not empty, at most 8.
	Recent []string
}

// Scanner finds the kernel's reports in a console's bytes. It takes any bytes
// in pieces of any size, and its memory is bounded. It is safe for concurrent
// use, since console and events come on different goroutines.
type Scanner struct {
	allow Allowlist
	table []recogniser

	mu   sync.Mutex
	con  Console
	buf  []byte
	test string
	// marked says that tests announce themselves on the console.
	marked bool
	// open is the report that lines are added to; rank is the place in the
	// table of the recogniser that named it.
	open *Finding
	rank int
	left int
	// continued says that the buffer's start was looked at already, as the
	// end of a piece that seen says the recogniser of.
	continued bool
	seen      int
}

// NewScanner returns a scanner that ignores what the list allows.
func NewScanner(allow Allowlist) *Scanner {
	return newScanner(allow, recognisers)
}

func newScanner(allow Allowlist, table []recogniser) *Scanner {
	return &Scanner{allow: allow, table: table, seen: len(table)}
}

// SetTest tells which test is running now; empty means none.
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

// Console returns what has been found. It is for the end of a run: a line that
// has not ended yet is looked at as it stands, and what comes later begins
// another one.
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
	// After a long line, the overlap alone is nothing new.
	if len(s.buf) > 0 && (!s.continued || len(s.buf) > overlap) {
		s.line(string(s.buf))
	}
	s.buf, s.continued, s.seen = s.buf[:0], false, len(s.table)
}

// stamp matches what printk puts before a line: the level when it is raw, the
// time, and the task or CPU under CONFIG_PRINTK_CALLER.
var stamp = regexp.MustCompile(`^(?:<\d+>)?\[ *(\d+\.\d+)\](?:\[ *[TC]\d+\])? ?`)

// line looks at one line, or one piece of a long one.
func (s *Scanner) line(raw string) {
	text, uptime := raw, -1.0
	if m := stamp.FindStringSubmatch(raw); m != nil {
		text = raw[len(m[0]):]
		if t, err := strconv.ParseFloat(m[1], 64); err == nil {
			uptime = t
		}
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

	rank := len(s.table)
	for i := range s.table {
		if s.table[i].matches(text) {
			rank = i
			break
		}
	}
	// The end of a long line matters as little as its middle, unless a
	// recogniser hit there.
	kept := clip(Printable(raw[:min(len(raw), 2*maxKept)]), maxKept)
	if rank < len(s.table) {
		kept = s.around(raw, rank)
	}
	if len(s.con.Recent) == maxRecent {
		s.con.Recent = slices.Delete(s.con.Recent, 0, 1)
	}
	s.con.Recent = append(s.con.Recent, kept)

	switch {
	case rank == len(s.table):
		s.keep(kept)
	case s.continued && rank == s.seen:
		// Most likely the same text, in the part that is looked at twice.
	default:
		s.found(&s.table[rank], rank, kept, uptime)
	}
	s.seen = rank
	if strings.Contains(text, "---[ end ") {
		s.open = nil
	}
}

// found notes that a recogniser knew the line.
func (s *Scanner) found(r *recogniser, rank int, kept string, uptime float64) {
	title := clip(stamp.ReplaceAllString(kept, ""), maxKept)
	if s.open != nil && !r.panic && !s.opens(r) {
		// One report, several signs of it: the most telling one names it.
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
	f := Finding{Name: r.name, Panic: r.panic, Title: title, Test: s.test, Uptime: uptime, Signs: []string{r.name}}
	s.rank, s.left = rank, maxReport
	if len(s.con.Findings) == maxFindings {
		s.con.Dropped++
		// The kernel's end is worth more than the last of many warnings. Any
		// other report is followed to its end, to be counted once.
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

// opens tells whether a recogniser's line begins a report of its own while
// another is open. What stands right behind "cut here" belongs to it.
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

// around cuts what is kept of a long line so that the text that was recognised
// is in it.
func (s *Scanner) around(raw string, rank int) string {
	at := 0
	for _, text := range s.table[rank].any {
		if i := strings.Index(raw, text); i >= 0 {
			at = i
			break
		}
	}
	from := 0
	if at > maxKept/2 {
		from = at
		// A timestamp or a name before it belongs to it.
		if i := strings.LastIndexByte(raw[at-maxKept/4:at], '['); i >= 0 {
			from = at - maxKept/4 + i
		}
	}
	return clip(Printable(raw[from:min(len(raw), from+2*maxKept)]), maxKept)
}
