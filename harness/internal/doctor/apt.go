// SPDX-License-Identifier: BSD-3-Clause

package doctor

import (
	"context"
	"errors"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/run"
)

// step runs a command that changes the system. A dpkg that is killed leaves
// packages half installed, so an interruption waits for it, and says so.
func step(ctx context.Context, argv []string, progress func(string)) error {
	said := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(said)
		progress("waiting for apt-get to finish; it must not be killed half-way")
	})
	err := run.Cmd{Argv: argv, Uninterruptible: true}.Run(ctx)
	if !stop() {
		<-said
	}
	return err
}

// troubles are what apt-get and dpkg say of a system that they find unfit, in
// any language, and what has to be done first.
var troubles = []struct{ text, first string }{
	// "dpkg was interrupted, you must manually run …"
	{"dpkg --configure -a", "sudo dpkg --configure -a && "},
	// "Unmet dependencies. Try …"
	{"--fix-broken install", "sudo apt-get --fix-broken install && "},
	{"/var/lib/dpkg/lock", "wait until the other package manager has finished, and then: "},
	{"/var/lib/apt/lists/lock", "wait until the other package manager has finished, and then: "},
}

// mend returns the advice after a failed installation: install, preceded by
// what apt-get asks for.
func mend(err error, install string) string {
	if failed, ok := errors.AsType[*run.Error](err); ok {
		said := strings.Join(failed.Tail, "\n")
		for _, t := range troubles {
			if strings.Contains(said, t.text) {
				return t.first + install
			}
		}
	}
	return install
}
