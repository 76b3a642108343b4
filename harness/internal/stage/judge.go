// SPDX-License-Identifier: BSD-3-Clause

package stage

import (
	"errors"
	"os"

	"github.com/kheaders/kheaders/harness/internal/symbol"
	"github.com/kheaders/kheaders/harness/verdict"
)

// JudgeInput is what [Judge] takes.
type JudgeInput struct {
	Booted Booted
	// Declared are the tests that must report.
	Declared []string
	// SHA256 is the archive's digest on the host.
	SHA256 string
	// Objects are the files with symbols for what the kernel reports, by
	// module name; the kernel itself is "". Source lines are printed
	// relative to one of Roots.
	Objects map[string]string
	Roots   []string
	Say     Say
}

// Judge gives a boot its verdict. Where there is debug information, it adds the
// source lines behind the kernel's reports.
func Judge(in JudgeInput) verdict.Result {
	result := verdict.Decide(verdict.Evidence{
		Declared: in.Declared, SHA256: in.SHA256,
		Record: in.Booted.Record, Console: in.Booted.Console, Exit: in.Booted.Exit,
	})
	objects := map[string]*symbol.Object{}
	open := func(module string) *symbol.Object {
		path := in.Objects[module]
		if _, tried := objects[module]; tried || path == "" {
			return objects[module]
		}
		object, err := symbol.Open(path, in.Roots...)
		if err != nil && !errors.Is(err, symbol.ErrNoLines) && !errors.Is(err, os.ErrNotExist) {
			in.Say("symbols", "no source lines: %v", err)
		}
		objects[module] = object
		return object
	}
	for i := range result.Findings {
		result.Findings[i].Annotated = symbol.Annotate(result.Findings[i].Lines, open)
	}
	return result
}
