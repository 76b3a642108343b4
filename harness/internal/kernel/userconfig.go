// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
)

// Configuration is a user's own: a whole .config, or a fragment to add to ours. The
// zero value is none.
type Configuration struct {
	name  string // of its file
	whole bool
	list  []request
}

// wholeMark is in the first lines of a .config that Kconfig wrote.
const wholeMark = "# Automatically generated file; DO NOT EDIT."

// ReadConfiguration reads a .config or a fragment of one. Errors are the user's
// mistakes.
func ReadConfiguration(path string) (Configuration, error) {
	const advice = "it must be a kernel's .config, or lines like those in one"
	text, err := os.ReadFile(path)
	if err != nil {
		return Configuration{}, hint.Usage(fmt.Errorf("reading the configuration: %w", err), advice)
	}
	c := Configuration{name: path, whole: strings.Contains(string(text), wholeMark)}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		symbol, value, ok := configLine(strings.TrimSpace(line))
		if !ok && strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			return Configuration{}, hint.Usage(fmt.Errorf("%s: line %d is neither a setting nor a comment: %q", path, n, strings.TrimSpace(line)), advice)
		}
		if ok {
			// As for Kconfig, the last line counts.
			c.list = slices.DeleteFunc(c.list, func(r request) bool { return r.symbol == symbol })
			c.list = append(c.list, request{symbol: symbol, value: value})
		}
	}
	if len(c.list) == 0 {
		return Configuration{}, hint.Usage(fmt.Errorf("%s has no setting in it", path), advice)
	}
	return c, nil
}

// None reports whether there is none.
func (c Configuration) None() bool { return c.name == "" }

// fragment returns what the fragment requests, beside what we do. The guest depends
// on ours.
func (c Configuration) fragment(ours []request) ([]request, error) {
	if c.whole {
		return nil, nil
	}
	var more []request
	for _, r := range c.list {
		i := slices.IndexFunc(ours, func(o request) bool { return o.symbol == r.symbol })
		switch {
		case i < 0:
			more = append(more, r)
		case ours[i].value != r.value:
			return nil, hint.Usage(fmt.Errorf("%s has %q, and the test needs %q", c.name, r.line(), ours[i].line()), "leave CONFIG_"+r.symbol+" out of it")
		}
	}
	return more, nil
}

// base returns what to configure a kernel from in place of tinyconfig, or nothing.
func (c Configuration) base() string {
	if !c.whole {
		return ""
	}
	return formatRequests(c.list)
}

// identity is part of a kernel's key.
func (c Configuration) identity() string {
	return fmt.Sprintf("%v\n%s", c.whole, formatRequests(c.list))
}

// changed returns the settings of a whole .config that came out differently, because
// we asked for something else or because the kernel, or its compiler, is another.
func (c Configuration) changed(config string) []string {
	if !c.whole {
		return nil
	}
	return lost(config, c.list)
}
