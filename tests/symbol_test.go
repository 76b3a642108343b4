// SPDX-License-Identifier: BSD-3-Clause

package tests

import (
	"cmp"
	"debug/elf"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/rig"
	"github.com/kheaders/kheaders/harness/target"
)

// frameLine matches a line from faddr2line: "(inlined by) function at
// file:line".
var frameLine = regexp.MustCompile(`^(?:\(inlined by\) )?(\S+) at (\S+):(\d+)`)

// sourceLines compares the source lines of places all over a kernel with
// those that the kernel's own scripts/faddr2line finds with binutils.
func sourceLines(t *testing.T) {
	k := testKernel(t, target.All()[0], "--profile", "debug")
	vmlinux := filepath.Join(k.Build, "vmlinux")
	object, err := rig.OpenSymbols(vmlinux, k.Source)
	if err != nil {
		t.Fatal(err)
	}
	places := somePlaces(t, vmlinux)
	var names []string
	for _, p := range places {
		names = append(names, p.String())
	}
	out, err := exec.Command(filepath.Join(k.Source, "scripts/faddr2line"), append([]string{vmlinux}, names...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("faddr2line: %v\n%s", err, out)
	}
	theirs := map[string][]string{}
	at := ""
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if m := frameLine.FindStringSubmatch(line); m != nil {
			theirs[at] = append(theirs[at], fmt.Sprintf("%s %s:%s", m[1], filepath.Clean(m[2]), m[3]))
		} else if name, ok := strings.CutSuffix(line, ":"); ok {
			at = name
		}
	}
	for _, p := range places {
		var ours []string
		for _, f := range object.Frames(p.name, p.offset, p.size) {
			ours = append(ours, fmt.Sprintf("%s %s:%d", f.Function, f.File, f.Line))
		}
		if len(ours) == 0 || !slices.Equal(ours, theirs[p.String()]) {
			t.Errorf("%s: ours %q, faddr2line's %q", p, ours, theirs[p.String()])
		}
	}
}

// place is a position in a function.
type place struct {
	name         string
	offset, size uint64
}

func (p place) String() string { return fmt.Sprintf("%s+%#x/%#x", p.name, p.offset, p.size) }

// somePlaces returns the middles of some functions, spread over the whole
// kernel.
func somePlaces(t *testing.T, vmlinux string) []place {
	t.Helper()
	file, err := elf.Open(vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	symbols, err := file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(symbols, func(a, b elf.Symbol) int { return cmp.Compare(a.Value, b.Value) })
	count := map[string]int{}
	var all []place
	for i, s := range symbols {
		count[s.Name]++
		next := slices.IndexFunc(symbols[i:], func(next elf.Symbol) bool { return next.Value > s.Value })
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Size < 200 || next < 0 {
			continue
		}
		// The size that a kernel prints is the distance to the next symbol.
		all = append(all, place{s.Name, s.Size / 2, symbols[i+next].Value - s.Value})
	}
	all = slices.DeleteFunc(all, func(p place) bool { return count[p.name] > 1 })
	const some = 15 // faddr2line takes a second for each
	if len(all) < some {
		t.Fatalf("%s has %d functions", vmlinux, len(all))
	}
	var places []place
	for i := range some {
		places = append(places, all[i*len(all)/some])
	}
	return places
}
