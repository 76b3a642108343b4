// SPDX-License-Identifier: BSD-3-Clause

package symbol

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/kheaders/kheaders/harness/target"
)

// place is how the kernel prints an address (%pS): function+0xoffset/0xsize,
// followed by the module. Newer kernels also print a module's build id.
var place = regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_.$]*)\+0x([0-9a-f]{1,8})/0x([0-9a-f]{1,8})(?: \[([A-Za-z0-9_]+)(?: [0-9a-f]+)?\])?`)

// counter matches lines that have the address of the instruction itself: an
// architecture's program counter, and the place of a WARN or a BUG. Other lines
// have the address after a call.
var counter = func() *regexp.Regexp {
	expr := `WARNING: |kernel BUG at `
	for _, t := range target.All() {
		expr += `|` + t.Oops.Counter
	}
	return regexp.MustCompile(expr)
}()

// Annotate returns the lines of a kernel's report, adding the source lines of
// each address that it knows:
//
//	read_proc+0x1f/0x60 [kheaders] (kheaders.c:52, inlined in read_proc at kheaders.c:80)
//
// open returns the object of a module, or vmlinux for an empty name, or nil. If
// no address is known, Annotate returns nil.
func Annotate(lines []string, open func(module string) *Object) []string {
	exact := map[string]bool{}
	for _, line := range lines {
		if m := place.FindStringSubmatch(line); m != nil && counter.MatchString(line) {
			exact[m[0]] = true
		}
	}
	known := false
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = place.ReplaceAllStringFunc(line, func(text string) string {
			m := place.FindStringSubmatch(text)
			object := open(m[4])
			if object == nil {
				return text
			}
			offset, err := strconv.ParseUint(m[2], 16, 64)
			if err != nil {
				return text
			}
			size, err := strconv.ParseUint(m[3], 16, 64)
			if err != nil {
				return text
			}
			if offset > 0 && !exact[text] {
				offset-- // into the call itself
			}
			frames := object.Frames(m[1], offset, size)
			if len(frames) == 0 {
				return text
			}
			known = true
			return text + " (" + format(frames) + ")"
		})
	}
	if !known {
		return nil
	}
	return out
}

// format writes an address's places in the source in one line.
func format(frames []Frame) string {
	var b strings.Builder
	for i, f := range frames {
		if i > 0 {
			fmt.Fprintf(&b, ", inlined in %s at ", f.Function)
		}
		fmt.Fprintf(&b, "%s:%d", f.File, f.Line)
	}
	return b.String()
}
