// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"regexp"
	"strconv"
)

// message is what may be one of the kernel's messages: a line, or a part of it
// that follows a time stamp, because the kernel goes on in the line that a
// program left unfinished.
type message struct {
	// text is the message without what printk puts before it, and at where it
	// begins in the line.
	text string
	at   int
	// bare is the text without what a subsystem put before a report, if it did.
	bare string
	// stamped says that printk put a time or a caller before it, so that it is
	// no program's text. uptime is the time, or -1.
	stamped bool
	uptime  float64
	// echo says that it repeats the kernel's command line.
	echo bool
}

// stamp matches what printk puts before a line: the level if the line is raw,
// the time, and the task or CPU under CONFIG_PRINTK_CALLER.
var stamp = regexp.MustCompile(`^(?:<\d+>)?(?:\[ *(\d+\.\d+)\](?:\[ *[TC]\d+\])?|\[ *[TC]\d+\]) ?`)

// within matches the same in the middle of a line, where it must have a time.
var within = regexp.MustCompile(`\[ *(\d+\.\d{6})\](?:\[ *[TC]\d+\])? ?`)

// lead matches what subsystems put before the text of a report.
var lead = regexp.MustCompile(`^(?:(?:NMI )?watchdog: |rcu: |traps: |kmemleak: |Oops: |Internal error: |\[ )`)

// echo matches messages that repeat the kernel's command line. Nothing in them
// is the kernel's own word.
var echo = regexp.MustCompile(`^(?:(?:Kernel c|C)ommand line: |Unknown (?:kernel )?command line parameters|Malformed early option |Booting kernel: )`)

// messages returns the messages in a line. The start of a line's later pieces is
// not that of a message. If echoes, such a piece goes on with the command line.
func messages(line string, continued, echoes bool) []message {
	var list []message
	from := 0
	switch {
	case continued && echoes:
		return []message{{text: line, uptime: -1, echo: true}}
	case !continued:
		m := message{text: line, uptime: -1}
		if at := stamp.FindStringSubmatchIndex(line); at != nil {
			m = stamped(line, at)
		}
		m.echo = echo.MatchString(m.text)
		list, from = append(list, m), m.at
	}
	for _, at := range within.FindAllStringSubmatchIndex(line, -1) {
		if at[0] < from {
			continue
		}
		if n := len(list); n > 0 {
			if list[n-1].echo {
				break
			}
			list[n-1].text = line[list[n-1].at:at[0]]
		}
		m := stamped(line, at)
		m.echo = echo.MatchString(m.text)
		list = append(list, m)
	}
	return list
}

// stamped returns the message behind a stamp. at has the indexes of the stamp
// and of the time in it.
func stamped(line string, at []int) message {
	m := message{text: line[at[1]:], at: at[1], stamped: true, uptime: -1}
	if at[2] >= 0 {
		if t, err := strconv.ParseFloat(line[at[2]:at[3]], 64); err == nil {
			m.uptime = t
		}
	}
	return m
}
