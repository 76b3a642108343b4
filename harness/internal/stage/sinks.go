// SPDX-License-Identifier: BSD-3-Clause

package stage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// This file holds the writers between a machine and the files of its cell.

// stamper copies lines to out, each prefixed with the seconds from start to its
// first byte. It goes by the monotonic clock, which nobody can set.
type stamper struct {
	out     io.Writer
	start   time.Time
	midLine bool
}

// Write fails when out does.
func (s *stamper) Write(p []byte) (int, error) {
	stamp := fmt.Appendf(nil, "[%9.3f] ", time.Since(s.start).Seconds())
	var text []byte
	for line := range bytes.Lines(p) {
		if !s.midLine {
			text = append(text, stamp...)
		}
		text = append(text, line...)
		s.midLine = !bytes.HasSuffix(line, []byte("\n"))
	}
	if _, err := s.out.Write(text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// bounded writes to out until its room is used up, then fails with errFlood.
type bounded struct {
	out  io.Writer
	room int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.room -= len(p); b.room < 0 {
		return 0, errFlood
	}
	return b.out.Write(p)
}

// maxQEMULog is how many bytes of QEMU's own messages are kept: the start,
// which says why it gave up.
const maxQEMULog = 1 << 20

// head keeps the start of what is written to it, in a file and as text.
type head struct {
	file *os.File
	text strings.Builder
}

// Write takes everything, and fails when the file does.
func (h *head) Write(p []byte) (int, error) {
	kept := p[:min(len(p), maxQEMULog-h.text.Len())]
	h.text.Write(kept)
	if _, err := h.file.Write(kept); err != nil {
		return 0, err
	}
	return len(p), nil
}

// The reasons why Boot ends a machine, in addition to those of package qemu.
var (
	errSlowTest = errors.New("a test takes too long")
	errFlood    = errors.New("too many events")
)
