// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"context"
	"strings"
)

// kinds are the kinds of kernel sources. A new one is a file with its parser and
// its origin, and a line here.
var kinds = []kind{
	{"a directory", parseDirectory},
	{"a source tarball (.tar, .tar.gz, .tar.xz)", parseTarball},
	{"debian:6.12", parseDebian},
	{"debian-image:6.1", parseImage},
	{"https://…#sha256=…", parseURL},
}

type kind struct {
	// form is what its specs look like, for people.
	form string
	// parse returns nil for a spec of another kind, and an error for a wrong
	// one of its own. An error without a hint gets the list of forms.
	parse func(spec string) (origin, error)
}

// origin is where one kernel comes from. Origins are compared when specs are, so
// they hold nothing that cannot be.
type origin interface {
	fetch(ctx context.Context, f fetcher) (Source, error)
	facts() facts
}

// facts are what others want to know of a kernel that is not there yet.
type facts struct {
	// configurable says that it is built from source, which can be configured
	// and patched. Otherwise fromSource is the spec to use for that.
	configurable bool
	fromSource   string
	// headerPackages says that it has header packages, laid out as a
	// distribution does it: what DKMS builds against.
	headerPackages bool
	// uses are what doctor.Needed has to be told of it.
	uses []string
}

// Forms lists what a spec can look like, for people.
func Forms() string {
	var forms []string
	for _, k := range kinds {
		forms = append(forms, k.form)
	}
	last := len(forms) - 1
	return strings.Join(forms[:last], ", ") + ", or " + forms[last]
}

// specForms is the hint for a spec that is none.
func specForms() string { return "a kernel is " + Forms() }
