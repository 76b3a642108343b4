// SPDX-License-Identifier: BSD-3-Clause

package report

import (
	"bytes"
	"encoding/xml"
	"testing"
)

// Whatever a guest prints, the XML stays well-formed, and the counts match the
// elements.
func TestJUnitWellFormed(t *testing.T) {
	var buf bytes.Buffer
	if err := sample("out").JUnit(&buf); err != nil {
		t.Fatal(err)
	}
	var back junitSuites
	if err := xml.Unmarshal(buf.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, s := range back.Suites {
		n := junitCounts{Time: s.Time}
		for _, c := range s.Cases {
			n.Tests++
			switch {
			case c.Failure != nil:
				n.Failures++
			case c.Error != nil:
				n.Errors++
			case c.Skipped != nil:
				n.Skipped++
			}
		}
		if n != s.junitCounts {
			t.Errorf("%s counts %+v, has %+v", s.Name, s.junitCounts, n)
		}
		total += n.Tests
	}
	if total != back.Tests || back.Failures+back.Errors == 0 {
		t.Errorf("counts %+v, has %d", back.junitCounts, total)
	}
}
