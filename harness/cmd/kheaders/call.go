// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
)

// The exit codes, which scripts rely on.
const (
	exitPass    = 0
	exitFail    = 1 // a verdict failed
	exitUsage   = 2 // the command line or what it names is wrong
	exitHarness = 3 // the harness could not do its work
)

// command is one of the subcommands.
type command struct {
	name, args, summary string
	// run declares its flags, parses, and does the work.
	run func(ctx context.Context, c *call) error
}

// call is one invocation of a command.
type call struct {
	command
	flags          *flag.FlagSet
	argv           []string
	stdout, stderr io.Writer
}

// parse reads the flags and returns the n arguments after them.
func (c *call) parse(n int) ([]string, error) {
	if err := c.flags.Parse(familiar(c.argv, c.flags)); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		meant := ""
		if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); ok {
			err = fmt.Errorf("unknown option --%s", name) // two dashes, like everywhere else
			meant = didYouMean("--", name, c.options())
		}
		return nil, hint.Usage(err, meant+"kheaders "+c.name+" --help lists the options")
	}
	if c.flags.NArg() != n {
		takes, given, meant := "no arguments", "but got none", ""
		if c.args != "" {
			takes = c.args
		}
		if c.flags.NArg() > 0 {
			given = fmt.Sprintf("but got %q", strings.Join(c.flags.Args(), " "))
			if c.flags.Lookup("kernel") != nil {
				meant = "did you mean --kernel " + c.flags.Arg(0) + "? "
			}
		}
		return nil, hint.Usage(fmt.Errorf("%s takes %s, %s", c.name, takes, given), meant+"kheaders "+c.name+" --help shows how to call it")
	}
	return c.flags.Args(), nil
}

// options returns the names of the command's options.
func (c *call) options() []string {
	var names []string
	c.flags.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	return names
}

// required refuses a command line that lacks a flag without a default.
func (c *call) required(names ...string) error {
	for _, name := range names {
		if c.flags.Lookup(name).Value.String() == "" {
			return hint.Usage(fmt.Errorf("%s needs --%s", c.name, name), "kheaders "+c.name+" --help lists the options")
		}
	}
	return nil
}

// exitError ends the program with an exit code of its own. If err is nil, what
// there is to say has been said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// help prints a command's options, with two dashes like everywhere else.
func (c *call) help() {
	fmt.Fprintf(c.stdout, "kheaders %s: %s\n\n", strings.TrimSpace(c.name+" [OPTION]… "+c.args), c.summary)
	c.flags.VisitAll(func(f *flag.Flag) {
		kind, text := flag.UnquoteUsage(f)
		fmt.Fprintf(c.stdout, "  %-24s %s", strings.TrimSpace("--"+f.Name+" "+kind), text)
		switch f.DefValue {
		case "", "false", "0", "0s": // no default, or the text has it
		default:
			fmt.Fprintf(c.stdout, " (default %s)", f.DefValue)
		}
		fmt.Fprintln(c.stdout)
	})
}
