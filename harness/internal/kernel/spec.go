// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
)

// Spec says where a kernel comes from. [ParseSpec] makes one. Specs are
// comparable.
type Spec struct {
	text   string
	origin origin
}

// String returns the spec as it was given.
func (s Spec) String() string { return s.text }

// Same reports whether both specs name the same kernel.
func (s Spec) Same(other Spec) bool { return s.origin == other.origin }

// Anywhere returns the spec in a form that means the same in every directory.
func (s Spec) Anywhere() string {
	if scheme.MatchString(s.text) {
		return s.text
	}
	path, err := filepath.Abs(s.text)
	if err != nil {
		return s.text
	}
	return path
}

// Configurable reports whether the kernel is built from source, and so can be
// configured and patched.
func (s Spec) Configurable() bool { return s.origin.facts().configurable }

// HeaderPackages reports whether the kernel comes with header packages in a
// distribution's layout.
func (s Spec) HeaderPackages() bool { return s.origin.facts().headerPackages }

// Uses returns what to pass to doctor.Needed for the kernel.
func (s Spec) Uses() []string { return s.origin.facts().uses }

// CheckProfile returns a [hint.Usage] error when the kernel cannot have that
// configuration profile.
func (s Spec) CheckProfile(name string) error {
	if s.Configurable() || name == DefaultProfile {
		return nil
	}
	return hint.Usage(fmt.Errorf("kernel %q is prebuilt, and cannot have the profile %s", s, name),
		"leave --profile out, or build a kernel from source: "+s.origin.facts().fromSource)
}

// CheckConfiguration returns a [hint.Usage] error when the kernel cannot have a
// configuration of the user's.
func (s Spec) CheckConfiguration(c Configuration) error {
	if s.Configurable() || c.None() {
		return nil
	}
	return hint.Usage(fmt.Errorf("kernel %q is prebuilt, and cannot have the configuration %s", s, c.name),
		"leave --config out, or build a kernel from source: "+s.origin.facts().fromSource)
}

// ParseSpec reads a kernel spec in one of the [Forms]. A path with a colon in
// it must start with / or ./. Errors are the user's mistakes and have a hint.
func ParseSpec(text string) (Spec, error) {
	for _, k := range kinds {
		from, err := k.parse(text)
		if err != nil && hint.Of(err) == "" {
			err = hint.Usage(err, specForms())
		}
		if err != nil {
			return Spec{}, err
		}
		if from != nil {
			return Spec{text: text, origin: from}, nil
		}
	}
	return Spec{}, unknown(text)
}

// unknown says what is wrong with a spec that is of no kind.
func unknown(text string) error {
	if text == "" {
		return hint.Usage(errors.New("the kernel is an empty string"), specForms())
	}
	if name := scheme.FindString(text); name != "" {
		return hint.Usage(fmt.Errorf("kernel %q: unknown kind of kernel %q", text, name), specForms())
	}
	_, err := os.Stat(text)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		advice := specForms()
		if debianVersion.MatchString(text) {
			advice = "did you mean debian:" + text + "? " + advice
		}
		return hint.Usage(fmt.Errorf("kernel %q: there is no such directory or file", text), advice)
	case err != nil:
		return hint.Usage(fmt.Errorf("finding the kernel %q: %w", text, err), specForms())
	}
	return hint.Usage(fmt.Errorf("kernel %q is neither a directory nor a file", text), specForms())
}

// Default returns the spec to use when none is given: debian:6.12 where apt can
// fetch it.
func Default() (Spec, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Spec{}, fmt.Errorf("finding out which system this is: %w", err)
	}
	if !isDebian(string(release)) {
		return Spec{}, hint.Usage(errors.New("there is no default kernel on a system other than Debian"), "name one: "+specForms())
	}
	return ParseSpec("debian:6.12")
}

// isDebian reports whether the system is Debian or derived from it, by the text
// of os-release(5).
func isDebian(release string) bool {
	for line := range strings.Lines(release) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key == "ID" || key == "ID_LIKE" {
			for id := range strings.FieldsSeq(strings.Trim(value, `"'`)) {
				if id == "debian" {
					return true
				}
			}
		}
	}
	return false
}
