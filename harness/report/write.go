// SPDX-License-Identifier: BSD-3-Clause

package report

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

// files are the reports, in the order in which they are written. results.json
// comes last, so if it exists, the others do as well.
var files = []struct {
	name   string
	render func(Run, io.Writer) error
}{
	{"junit.xml", Run.JUnit},
	{"results.ktap", Run.KTAP},
	{"results.json", Run.JSON},
}

// Files returns the names of the files that [Write] writes.
func Files() []string {
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.name
	}
	return names
}

// Write writes all reports into a directory, which it creates if necessary.
// Each file appears whole or not at all.
func Write(dir string, r Run) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the results directory: %w", err)
	}
	r, err := r.relativeTo(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		var buf strings.Builder
		if err := f.render(r, &buf); err != nil {
			return fmt.Errorf("rendering %s: %w", f.name, err)
		}
		if err := renameio.WriteFile(filepath.Join(dir, f.name), []byte(buf.String()), 0o644); err != nil {
			return fmt.Errorf("writing %s: %w", f.name, err)
		}
	}
	return nil
}

// relativeTo returns a copy with the paths that [Run] promises.
func (r Run) relativeTo(dir string) (Run, error) {
	base, err := filepath.Abs(dir)
	if err != nil {
		return Run{}, fmt.Errorf("finding the results directory: %w", err)
	}
	place := func(path string) string {
		if path == "" {
			return ""
		}
		// Abs fails only without a working directory. Then it either failed above
		// already, or does not matter.
		abs, err := filepath.Abs(path)
		if err != nil {
			return path
		}
		if rel, err := filepath.Rel(base, abs); err == nil && filepath.IsLocal(rel) {
			return rel
		}
		return abs
	}
	r.Cells = slices.Clone(r.Cells)
	for i := range r.Cells {
		c := &r.Cells[i]
		c.Dir = place(c.Dir)
		c.Artifacts = slices.Clone(c.Artifacts)
		for j := range c.Artifacts {
			c.Artifacts[j].Path = place(c.Artifacts[j].Path)
		}
		c.Logs = slices.Clone(c.Logs)
		for j := range c.Logs {
			c.Logs[j] = place(c.Logs[j])
		}
	}
	return r, nil
}
