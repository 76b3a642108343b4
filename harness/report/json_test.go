// SPDX-License-Identifier: BSD-3-Clause

package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/verdict"
)

// An empty run has empty lists, not nulls.
func TestJSONEmpty(t *testing.T) {
	var buf bytes.Buffer
	if err := (Run{Cells: []Cell{{}}}).JSON(&buf); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(buf.String(), "null") {
		t.Error(buf.String())
	}
}

// results.json can be read back.
func TestJSONBack(t *testing.T) {
	var buf bytes.Buffer
	want := sample("/results")
	if err := want.JSON(&buf); err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(&buf)
	dec.DisallowUnknownFields()
	var got Run
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if len(got.Cells) != len(want.Cells) || got.Cells[0].Digests.Guest != digest || got.Cells[1].Verdict != verdict.KernelSplat {
		t.Errorf("%+v", got)
	}
}
