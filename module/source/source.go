// SPDX-License-Identifier: BSD-3-Clause

// Package source writes the source of the kernel module: everything that
// stands beside the archive in a directory from which
//
//	make -C KERNEL M=$PWD
//
// builds kheaders.ko, for any kernel from 4.14 on, with nothing of ours at
// hand. The files below template are part of it as they are, but for kheaders.h,
// which describes the archive.
package source

import (
	"bytes"
	"embed"
	"fmt"
	"regexp"
	"strings"
	"text/template"
)

// ModuleName is the name of the module: consumers run "modprobe kheaders".
const ModuleName = "kheaders"

// Version is the version of the module's source, which modinfo shows.
const Version = "1.0"

// ArchiveName is the name under which the archive must lie in the directory.
const ArchiveName = "kheaders_data.tar.xz"

// The symbols before the archive's first byte and after its last one. A kernel
// that has its own kheaders built in knows that one's by other names.
const (
	StartSymbol = "kheaders_xz_archive"
	EndSymbol   = "kheaders_xz_archive_end"
)

// The fields of .modinfo, as modinfo(8) shows it, that describe the archive and
// the module around it.
const (
	// VersionField is [Version].
	VersionField = "version"
	// SHA256Field is its digest, in lower case hexadecimal.
	SHA256Field = "archive_sha256"
	// SizeField is its length in bytes, in decimal.
	SizeField = "archive_size"
	// ReleaseField is the kernel release that the headers are from. The field
	// is missing when it was not known.
	ReleaseField = "headers_release"
)

// Archive describes the archive that the module embeds.
type Archive struct {
	// SHA256 is its digest, in lower case hexadecimal.
	SHA256 string
	// Size is its length in bytes. The build fails when the file has another.
	Size int64
	// Release is the kernel release that the headers are from, as uname -r
	// prints it. Empty: not known.
	Release string
	// SrcArch is the directory below arch/ that they are from: x86, arm64.
	// Empty: not known.
	SrcArch string
}

//go:embed template
var files embed.FS

const (
	templateDir    = "template"
	templateSuffix = ".tmpl"
)

var (
	validSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)
	// Releases go into a C string, so what C would take for more than text
	// is refused. 64 is the size of utsname's field, with its zero byte.
	validRelease = regexp.MustCompile(`^[0-9A-Za-z._+~-]{0,63}$`)
	validSrcArch = regexp.MustCompile(`^[0-9a-z_]*$`)
)

func (a Archive) validate() error {
	if !validSHA256.MatchString(a.SHA256) {
		return fmt.Errorf("the archive's sha256 %q is not 64 lower case hexadecimal digits", a.SHA256)
	}
	if a.Size <= 0 {
		return fmt.Errorf("the archive's size is %d bytes", a.Size)
	}
	if !validRelease.MatchString(a.Release) {
		return fmt.Errorf("%q is not a kernel release", a.Release)
	}
	if !validSrcArch.MatchString(a.SrcArch) {
		return fmt.Errorf("%q is not a directory of arch/", a.SrcArch)
	}
	return nil
}

// Render returns the files of the module's directory by name, without
// directories in them. The archive is not among them: the caller puts it there
// as [ArchiveName]. The same archive gives the same files.
func Render(a Archive) (map[string][]byte, error) {
	if err := a.validate(); err != nil {
		return nil, fmt.Errorf("rendering the module's source: %w", err)
	}
	entries, err := files.ReadDir(templateDir)
	if err != nil {
		return nil, fmt.Errorf("rendering the module's source: %w", err)
	}
	rendered := make(map[string][]byte, len(entries))
	for _, entry := range entries {
		text, err := files.ReadFile(templateDir + "/" + entry.Name())
		if err != nil {
			return nil, fmt.Errorf("rendering the module's source: %w", err)
		}
		name, isTemplate := strings.CutSuffix(entry.Name(), templateSuffix)
		if isTemplate {
			if text, err = execute(name, string(text), a); err != nil {
				return nil, fmt.Errorf("rendering %s: %w", name, err)
			}
		}
		rendered[name] = text
	}
	return rendered, nil
}

func execute(name, text string, a Archive) ([]byte, error) {
	return fill(name, text, struct {
		Archive
		Version, ReleasePattern string
	}{a, Version, regexp.QuoteMeta(a.Release)})
}

// fill fills in a template.
func fill(name, text string, data any) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
