// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"strings"
)

// kinds are the kinds of kernel sources. To add one, write a file with its
// parser and its origin, and add a line here.
var kinds = []kind{
	{"a directory", parseDirectory},
	{"a source tarball (.tar, .tar.gz, .tar.xz, .tar.bz2, .tar.zst)", parseTarball},
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
