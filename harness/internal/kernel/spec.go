// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
)

// specForms is the hint for a spec that is none.
const specForms = "a kernel is a directory, a source tarball (.tar, .tar.gz, .tar.xz), debian:6.12, debian-image:6.1, or https://…#sha256=…"

// form is what a spec refers to.
type form int

const (
	formDirectory form = iota
	formTarball
	formDebian
	formImage
	formURL
)

// Spec says where a kernel's source comes from. [ParseSpec] makes one.
type Spec struct {
	text string
	form form
	// path is the absolute path of a directory or a tarball.
	path string
	// version is Debian's name for the series, such as 6.12.
	version string
	// url is the address without its fragment, sha256 the digest in it.
	url, sha256 string
}

// Prebuilt tells whether the kernel comes built, with its own configuration.
func (s Spec) Prebuilt() bool { return s.form == formImage }

// Configurable tells whether the kernel is built here, from a source that can be
// configured and patched.
func (s Spec) Configurable() bool { return !s.Prebuilt() }

// HeaderPackages tells whether the kernel comes with its headers as a distribution
// lays them out.
func (s Spec) HeaderPackages() bool { return s.Prebuilt() }

// Uses returns what doctor has to find for it besides.
func (s Spec) Uses() []string {
	if s.Prebuilt() {
		return []string{"image"}
	}
	return nil
}

// CheckProfile returns a [hint.Usage] error when the kernel cannot be had with
// that configuration profile.
func (s Spec) CheckProfile(name string) error {
	if s.Prebuilt() && name != DefaultProfile {
		return hint.Usage(fmt.Errorf("kernel %q comes built, and cannot have the profile %s", s, name),
			"leave --profile out, or build a kernel from source: debian:"+s.version)
	}
	return nil
}

// String returns the spec as it was given.
func (s Spec) String() string { return s.text }

var (
	debianVersion = regexp.MustCompile(`^[0-9]+(\.[0-9]+){1,2}$`)
	hexDigest     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	// scheme tells debian:6.12 and https://… from a path.
	scheme = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
)

// ParseSpec reads a kernel spec: a directory that holds a kernel tree, a
// source tarball, debian:VERSION for Debian's package linux-source-VERSION,
// debian-image:VERSION for the kernel that Debian has built of it, or a URL of a tarball that ends in #sha256=DIGEST. A path with a colon in it
// has to start with / or ./. Errors are the user's, with a hint.
func ParseSpec(text string) (Spec, error) {
	name := scheme.FindString(text)
	rest := text[len(name):]
	switch name {
	case "":
		return parsePath(text)
	case "debian:":
		if !debianVersion.MatchString(rest) {
			return Spec{}, hint.Usage(fmt.Errorf("kernel %q names no version of Debian's linux-source packages", text),
				"write debian:6.12 or debian:6.1; `apt-cache search ^linux-source` lists what there is")
		}
		return Spec{text: text, form: formDebian, version: rest}, nil
	case "debian-image:":
		if !debianVersion.MatchString(rest) {
			return Spec{}, hint.Usage(fmt.Errorf("kernel %q names no version of Debian's linux-image packages", text),
				"write debian-image:6.1; `apt-cache search ^linux-headers-.*-cloud` lists what there is")
		}
		return Spec{text: text, form: formImage, version: rest}, nil
	case "https:", "http:":
		return parseURL(text)
	}
	return Spec{}, hint.Usage(fmt.Errorf("kernel %q: unknown kind of kernel %q", text, name), specForms)
}

func parsePath(text string) (Spec, error) {
	if text == "" {
		return Spec{}, hint.Usage(errors.New("the kernel is an empty string"), specForms)
	}
	path, err := filepath.Abs(text)
	if err != nil {
		return Spec{}, fmt.Errorf("finding the kernel %q: %w", text, err)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		advice := specForms
		if debianVersion.MatchString(text) {
			advice = "did you mean debian:" + text + "? " + advice
		}
		return Spec{}, hint.Usage(fmt.Errorf("kernel %q: there is no such directory or file", text), advice)
	case err != nil:
		return Spec{}, hint.Usage(fmt.Errorf("finding the kernel %q: %w", text, err), specForms)
	case info.IsDir():
		// The tree's identity must not depend on the link by which it was
		// reached.
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return Spec{}, fmt.Errorf("finding the kernel %q: %w", text, err)
		}
		return Spec{text: text, form: formDirectory, path: path}, nil
	case !info.Mode().IsRegular():
		return Spec{}, hint.Usage(fmt.Errorf("kernel %q is neither a directory nor a file", text), specForms)
	case compressionOf(path) == nil:
		return Spec{}, hint.Usage(fmt.Errorf("kernel %q is no source tarball, by its name", text), specForms)
	}
	return Spec{text: text, form: formTarball, path: path}, nil
}

func parseURL(text string) (Spec, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return Spec{}, hint.Usage(fmt.Errorf("kernel %q is no valid URL", text), specForms)
	}
	digest, ok := strings.CutPrefix(u.Fragment, "sha256=")
	digest = strings.ToLower(digest)
	if !ok || !hexDigest.MatchString(digest) {
		return Spec{}, hint.Usage(fmt.Errorf("kernel %q lacks the digest that says which bytes are meant", text),
			"add #sha256= and the 64 hexadecimal digits that sha256sum prints for the file")
	}
	if compressionOf(u.Path) == nil {
		return Spec{}, hint.Usage(fmt.Errorf("kernel %q is no source tarball, by its name", text), specForms)
	}
	u.Fragment = ""
	return Spec{text: text, form: formURL, url: u.String(), sha256: digest}, nil
}

// Default returns the spec for a run that names none: debian:6.12 where apt
// can fetch it.
func Default() (Spec, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Spec{}, fmt.Errorf("finding out which system this is: %w", err)
	}
	if !isDebian(string(release)) {
		return Spec{}, hint.Usage(errors.New("there is no default kernel on a system that is not Debian's"), "name one: "+specForms)
	}
	return ParseSpec("debian:6.12")
}

// isDebian tells from the text of os-release(5) whether the system is Debian
// or derived from it.
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
