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

// File is what [Modules] reads.
const File = "/proc/vmallocinfo"

// loaders begin the names of the functions that allocate for modules. Which of
// them is named depends on the kernel's version and on what the compiler
// inlined.
var loaders = []string{"load_module", "move_module", "module_alloc", "execmem_"}

// Modules returns how many pages modules take. Where the kernel names their
// areas otherwise, there seem to be none: ask for a least number.
func Modules() (int64, error) {
	text, err := os.ReadFile(File)
	if err != nil {
		return 0, err
	}
	return Pages(string(text))
}

// Pages adds up the pages of modules in the text of vmallocinfo, which has a
// line for each area:
//
//	0xffffffffc0000000-0xffffffffc0005000   20480 load_module+0x1a/0x20 pages=4 vmalloc
func Pages(text string) (int64, error) {
	total := int64(0)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.HasPrefix(fields[0], "0x") {
			return 0, fmt.Errorf("%s: malformed line %q", File, line)
		}
		if len(fields) < 3 || !isLoader(fields[2]) {
			continue
		}
		for _, field := range fields[3:] {
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
	return total, nil
}

func isLoader(caller string) bool {
	for _, name := range loaders {
		if strings.HasPrefix(caller, name) {
			return true
		}
	}
	return false
}
