// SPDX-License-Identifier: BSD-3-Clause

// Package kmsg reads the kernel's log from /dev/kmsg and judges its lines, as far
// as the guest tests need it. The kernel's Documentation/ABI/testing/dev-kmsg
// defines the format of a record.
package kmsg

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Record is one line of the kernel's log.
type Record struct {
	// Level is the urgency, from 0 (emergency) to 7 (debug).
	Level int
	// Facility is 0 for the kernel itself; user space uses others.
	Facility int
	// Sequence is the record's number since boot.
	Sequence uint64
	// Text is the message, without its continuation lines.
	Text string
}

// Warning is the least urgent level that needs attention.
const Warning = 4

// Parse interprets one record as read from /dev/kmsg:
//
//	PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,...];TEXT\n[ KEY=VALUE\n]...
func Parse(s string) (Record, error) {
	head, text, ok := strings.Cut(s, ";")
	fields := strings.Split(head, ",")
	if !ok || len(fields) < 4 {
		return Record{}, fmt.Errorf("malformed kernel log record %q", s)
	}
	priority, err := strconv.ParseUint(fields[0], 10, 16)
	if err != nil {
		return Record{}, fmt.Errorf("malformed kernel log record %q: priority: %w", s, err)
	}
	seq, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return Record{}, fmt.Errorf("malformed kernel log record %q: sequence: %w", s, err)
	}
	text, _, _ = strings.Cut(text, "\n")
	return Record{Level: int(priority & 7), Facility: int(priority >> 3), Sequence: seq, Text: text}, nil
}

// Log is an open kernel log.
type Log struct{ fd int }

// Open returns a log that starts at the oldest line in the kernel's buffer.
func Open() (*Log, error) { return open(0, unix.SEEK_SET) }

// OpenEnd returns a log that starts with the next line to come.
func OpenEnd() (*Log, error) { return open(0, unix.SEEK_END) }

func open(offset int64, whence int) (*Log, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening /dev/kmsg: %w", err)
	}
	if _, err := unix.Seek(fd, offset, whence); err != nil {
		return nil, errors.Join(fmt.Errorf("seeking in /dev/kmsg: %w", err), unix.Close(fd))
	}
	return &Log{fd: fd}, nil
}

// Close closes the log.
func (l *Log) Close() error { return unix.Close(l.fd) }

// Read returns the kernel's own lines since the last Read. Lost lines are an
// error, since nobody can judge them.
func (l *Log) Read() ([]Record, error) {
	var records []Record
	buf := make([]byte, 8<<10) // the kernel's own limit for a record
	for {
		n, err := unix.Read(l.fd, buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return records, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EPIPE):
			return records, errors.New("reading /dev/kmsg: lines were overwritten before they could be read")
		case err != nil:
			return records, fmt.Errorf("reading /dev/kmsg: %w", err)
		}
		r, err := Parse(string(buf[:n]))
		if err != nil {
			return records, err
		}
		if r.Facility == 0 {
			records = append(records, r)
		}
	}
}

// notices are what the kernel prints about the first module that was built out
// of its tree, and about the first one without a valid signature.
var notices = []string{
	": loading out-of-tree module taints kernel.",
	": module verification failed: signature and/or required key missing - tainting kernel",
}

// TaintNotice reports whether the record is one of the two lines that the kernel
// prints once, when the named module is the first out-of-tree or unsigned one.
func (r Record) TaintNotice(module string) bool {
	return slices.ContainsFunc(notices, func(n string) bool { return r.Text == module+n })
}

// background has the prefixes of lines that a kernel prints at any time, no
// matter what else goes on. Most complain that the machine is slow, as it is on a
// busy host.
var background = []string{
	"TSC found unstable after boot",
	"clocksource: ",
	"hrtimer: interrupt took ",
	"input: ",
	"perf: interrupt took too long ",
	"random: crng init done",
	"sched: ",
	"sched_clock: ",
	"tsc: ",
	"workqueue: ",
}

// Background reports whether the line may come at any time, no matter what the
// tests do.
func (r Record) Background() bool {
	return slices.ContainsFunc(background, func(b string) bool { return strings.HasPrefix(r.Text, b) })
}

// trouble matches how the kernel begins to report that something broke. Other
// messages have the same words further on: advice about processors, or what stands
// on the kernel's command line.
var trouble = regexp.MustCompile(`^(?:(?:NMI )?watchdog: |rcu: |traps: |usercopy: |\[ )?(?:` + strings.Join([]string{
	`(?:[\w/-]+: )?BUG: `,
	`BUG \S+ \(.*\):`,
	"Call [Tt]race:",
	"INFO: rcu",
	`INFO: \S+ (?:self-)?detected `,
	"INFO: task .* blocked ",
	"INFO: trying to register non-static key",
	"Internal error: ",
	"Kernel memory (?:exposure|overwrite) attempt",
	"Kernel panic",
	"Oops",
	"Out of memory: ",
	"PANIC: ",
	"Slab corruption",
	"UBSAN: ",
	"Unable to handle kernel",
	"WARNING: ",
	`(?:CPU\d+: )?Watchdog detected hard LOCKUP`,
	"general protection fault",
	"kernel BUG at ",
	"list_add ",
	"list_del ",
	"refcount_t: ",
	`.*: [0-9a-f]{4,16} \[#\d+\]`, // the end of any oops's first line
	".* invoked oom-killer: ",
	".*: page allocation failure: ",
}, "|") + ")")

// advice has the starts of messages that are none, although they say WARNING.
var advice = []string{
	"WARNING: x1-x3 nonzero in violation of boot protocol",
	"WARNING: BIOS bug: ",
	"WARNING: MP table in the EBDA can be UNSAFE",
	"WARNING: KASAN doesn't support memory hot-add",
	"WARNING: polling idle and HT enabled",
}

// echoed matches messages that repeat the kernel's command line.
var echoed = regexp.MustCompile("(?i)^(?:kernel |unknown |unknown kernel )?command line|^Malformed early option|^Booting kernel: ")

// Trouble reports whether the line says that something broke in the kernel.
func (r Record) Trouble() bool {
	return trouble.MatchString(r.Text) && !echoed.MatchString(r.Text) &&
		!slices.ContainsFunc(advice, func(a string) bool { return strings.HasPrefix(r.Text, a) })
}

// The lines around the report of a warning or an oops.
const (
	reportBegin = "------------[ cut here ]------------"
	reportEnd   = "---[ end trace "
)

// Without drops the lines that have one of the texts, and the rest of the report
// if it has marks around it. If that drops too much, the host still sees it on
// the console.
func Without(records []Record, texts []string) []Record {
	var left []Record
	for i := 0; i < len(records); i++ {
		has := func(text string) bool { return strings.Contains(records[i].Text, text) }
		if !slices.ContainsFunc(texts, has) {
			left = append(left, records[i])
			continue
		}
		if n := len(left); n > 0 && left[n-1].Text == reportBegin {
			left = left[:n-1]
		}
		for j := i + 1; j < len(records) && records[j].Text != reportBegin; j++ {
			if strings.HasPrefix(records[j].Text, reportEnd) {
				i = j
				break
			}
		}
	}
	return left
}

// String returns the line with its level, as dmesg --raw does.
func (r Record) String() string { return fmt.Sprintf("<%d>%s", r.Level, r.Text) }
