// SPDX-License-Identifier: BSD-3-Clause

// Package vmalloc reads /proc/vmallocinfo: the areas that the kernel has mapped
// page by page, those of modules among them.
package vmalloc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// File is what [Used] reads.
const File = "/proc/vmallocinfo"

// stacks are in the callers' names of areas that come and go with threads,
// whatever else happens.
var stacks = []string{"alloc_thread_stack", "dup_task_struct", "copy_process", "kernel_clone", "_do_fork"}

// Used returns how many pages are in use, but for the stacks of threads.
func Used() (int64, error) {
	text, err := os.ReadFile(File)
	if err != nil {
		return 0, err
	}
	return Pages(string(text))
}

// Pages adds up the pages of the areas in the text of vmallocinfo, which has a
// line for each:
//
//	0xffffc90000000000-0xffffc90000005000   20480 CALLER+0x1a/0x20 pages=4 vmalloc
//
// An area without a number of pages has none of its own. There being none at
// all is an error.
func Pages(text string) (int64, error) {
	total := int64(0)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.HasPrefix(fields[0], "0x") {
			return 0, fmt.Errorf("%s: malformed line %q", File, line)
		}
		if isStack(line) {
			continue
		}
		for _, field := range fields[2:] {
			number, ok := strings.CutPrefix(field, "pages=")
			if !ok {
				continue
			}
			n, err := strconv.ParseInt(number, 10, 64)
			if err != nil || n < 0 {
				return 0, fmt.Errorf("%s: malformed line %q", File, line)
			}
			total += n
		}
	}
	if total == 0 {
		return 0, fmt.Errorf("%s has no pages in use", File)
	}
	return total, nil
}

func isStack(line string) bool {
	for _, name := range stacks {
		if strings.Contains(line, " "+name+"+") || strings.Contains(line, " "+name+".") || strings.Contains(line, " "+name+"_") {
			return true
		}
	}
	return false
}
