// SPDX-License-Identifier: BSD-3-Clause

package faults

import (
	"fmt"
	"strings"
	"sync"
	"text/tabwriter"
)

// row is a line of the table.
type row struct {
	batch, fault, arch string
	verdict            string
	exit               int
	seconds            float64
	ok                 bool
}

// table is what the run showed.
type table struct {
	mu   sync.Mutex
	rows []row
}

func (tab *table) add(r row) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	tab.rows = append(tab.rows, r)
}

// String formats the table.
func (tab *table) String() string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	var buf strings.Builder
	out := tabwriter.NewWriter(&buf, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(out, "BATCH\tFAULT\tARCH\tVERDICT\tEXIT\tSECONDS\tAS IT MUST BE")
	for _, r := range tab.rows {
		_, _ = fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%d\t%.2f\t%v\n", r.batch, r.fault, r.arch, r.verdict, r.exit, r.seconds, r.ok)
	}
	_ = out.Flush()
	return buf.String()
}
