// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"context"
	"strings"
)

// kinds are the kinds of kernel sources. To add one, write a file with its
// parser and its origin, and add a line here.
var kinds = []kind{
	{"a directory", parseDirectory},
	{"a source tarball (.tar, .tar.gz, .tar.xz)", parseTarball},
	{"debian:6.12", parseDebian},
	{"debian-image:6.1", parseImage},
	{"https://…#sha256=…", parseURL},
}

type kind struct {
	// form shows people what its specs look like.
	form string
	// parse returns nil for a spec of another kind, and an error for a bad
	// spec of its own kind. An error without a hint gets the list of forms.
	parse func(spec string) (origin, error)
}

// origin is where one kernel comes from. Specs are compared, and their origins
// with them, so every origin must be comparable.
type origin interface {
	fetch(ctx context.Context, f fetcher) (Source, error)
	facts() facts
}

// facts are what others want to know about a kernel before it is fetched.
type facts struct {
	// configurable says that it is built from source, so that it can be
	// configured and patched. If not, fromSource is a spec that can.
	configurable bool
	fromSource   string
	// headerPackages says that it has header packages in a distribution's
	// layout, which is what DKMS builds against.
	headerPackages bool
	// uses are what to pass to doctor.Needed for it.
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

// specForms is the hint for an invalid spec.
func specForms() string { return "a kernel is " + Forms() }
