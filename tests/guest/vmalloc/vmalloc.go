// SPDX-License-Identifier: BSD-3-Clause

// Package vmalloc reads /proc/vmallocinfo: the areas that the kernel has mapped
// page by page, including those of modules.
package vmalloc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// File is what [Read] reads.
const File = "/proc/vmallocinfo"

// loaders has the prefixes of the functions that allocate memory for modules.
// Which of them the kernel names depends on its version and on what the compiler
// inlined.
var loaders = []string{"load_module", "move_module", "module_alloc", "execmem_"}

// sharedPages is the size of the blocks from which kernels since 6.13 may
// allocate the code of all modules (EXECMEM_ROX): a huge page of 2 MiB. The kernel
// allocates them with the first module and frees them some time after the last,
// so they count for none.
const sharedPages = 512

// Usage counts pages.
type Usage struct {
	// Modules is what modules use. It is 0 if the kernel names their areas in an
	// unknown way, so check that it is large enough.
	Modules int64
	// Orphans is what was allocated by code that is gone. The kernel names such
	// areas by an address.
	Orphans int64
}

// Read returns the usage of the running kernel.
func Read() (Usage, error) {
	text, err := os.ReadFile(File)
	if err != nil {
		return Usage{}, err
	}
	return Parse(string(text))
}

// Parse adds up the pages in the text of vmallocinfo, which has one line per
// area:
//
//	0xffffffffc0000000-0xffffffffc0005000   20480 load_module+0x1a/0x20 pages=4 vmalloc
func Parse(text string) (Usage, error) {
	var usage Usage
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.HasPrefix(fields[0], "0x") {
			return Usage{}, fmt.Errorf("%s: malformed line %q", File, line)
		}
		if len(fields) < 3 {
			continue
		}
		var total *int64
		switch caller := fields[2]; {
		case isLoader(caller):
			total = &usage.Modules
		case strings.HasPrefix(caller, "0x"):
			total = &usage.Orphans
		default:
			continue
		}
		for _, field := range fields[3:] {
			number, ok := strings.CutPrefix(field, "pages=")
			if !ok {
				continue
			}
			n, err := strconv.ParseInt(number, 10, 64)
			if err != nil || n < 0 {
				return Usage{}, fmt.Errorf("%s: malformed line %q", File, line)
			}
			if n == sharedPages && strings.HasPrefix(fields[2], "execmem_alloc+") {
				continue
			}
			*total += n
		}
	}
	return usage, nil
}

func isLoader(caller string) bool {
	for _, name := range loaders {
		if strings.HasPrefix(caller, name) {
			return true
		}
	}
	return false
}
