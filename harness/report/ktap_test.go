// SPDX-License-Identifier: BSD-3-Clause

package report

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The KTAP obeys its grammar: plans match, numbers count up, and there are only
// lines of known forms.
func TestKTAPGrammar(t *testing.T) {
	var buf bytes.Buffer
	if err := sample("out").KTAP(&buf); err != nil {
		t.Fatal(err)
	}
	var (
		version = regexp.MustCompile(`^( *)KTAP version 1$`)
		plan    = regexp.MustCompile(`^( *)1\.\.([0-9]+)$`)
		result  = regexp.MustCompile(`^( *)(ok|not ok) ([0-9]+) ([^#]+?)( # .+)?$`)
		comment = regexp.MustCompile(`^( *)# `)
	)
	planned, seen := map[string]int{}, map[string]int{}
	check := func(indent string) {
		if planned[indent] != seen[indent] {
			t.Errorf("%q: %d planned, %d seen", indent, planned[indent], seen[indent])
		}
	}
	depth := ""
	for line := range strings.Lines(buf.String()) {
		line = strings.TrimSuffix(line, "\n")
		if m := version.FindStringSubmatch(line); m != nil {
			depth = m[1]
			seen[depth] = 0
			continue
		}
		if m := plan.FindStringSubmatch(line); m != nil {
			planned[m[1]], _ = strconv.Atoi(m[2])
			continue
		}
		if m := result.FindStringSubmatch(line); m != nil {
			if len(m[1]) < len(depth) {
				check(depth)
				depth = m[1]
			}
			seen[m[1]]++
			if m[3] != fmt.Sprint(seen[m[1]]) {
				t.Errorf("%q is number %d", line, seen[m[1]])
			}
			continue
		}
		if !comment.MatchString(line) {
			t.Errorf("no KTAP: %q", line)
		}
	}
	check("")
}
