// SPDX-License-Identifier: BSD-3-Clause

// Package source writes the source of the kernel module: everything that
// stands beside the archive in a directory from which
//
//	make -C KERNEL M=$PWD
//
// builds kheaders.ko, for any kernel from 4.14 on, with nothing of ours at
// hand. The files below template are part of it, those that end in .tmpl filled
// in.
package source

import (
	"bytes"
	"embed"
	"fmt"
	"path"
	"regexp"
	"strconv"
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
	// SrcArch is the directory below arch/ that they are from.
	// Empty: not known.
	SrcArch string
}

//go:embed template intree
var files embed.FS

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
	err := a.validate()
	if err != nil {
		return nil, fmt.Errorf("rendering the module's source: %w", err)
	}
	return render(parameters{SHA256: a.SHA256, Size: strconv.FormatInt(a.Size, 10), Release: a.Release, SrcArch: a.SrcArch}, map[string]string{
		"Kbuild":     "template/Kbuild.tmpl",
		"Makefile":   "template/Makefile",
		"dkms.conf":  "template/dkms.conf.tmpl",
		"kheaders.h": "template/kheaders.h.tmpl",
	})
}

// DKMS returns the files, by name, of a directory from which dkms(8) builds the
// module for any kernel, each with the headers of its own: the build packs them
// from what it builds against. It takes a C compiler, make and xz. xz is the
// command that compresses standard input to standard output.
func DKMS(xz []string) (map[string][]byte, error) {
	return render(packing(xz), map[string]string{
		"Kbuild":        "template/Kbuild.tmpl",
		"Makefile":      "template/Makefile",
		"dkms.conf":     "template/dkms.conf.tmpl",
		"kheaders.h.in": "template/kheaders.h.tmpl",
	})
}

// parameters fill in the templates.
type parameters struct {
	// What [Archive] says.
	SHA256, Size, Release, SrcArch string
	// XZ is the command line of the compressor in a build that packs the
	// headers itself. Empty: the archive is there.
	XZ string
	// Hostprogs is the variable that kbuild has for the host's programs.
	Hostprogs string
}

// packing are the parameters of a build that packs its own archive: it puts
// what it finds into kheaders.h.
func packing(xz []string) parameters {
	return parameters{SHA256: "@SHA256@", Size: "@SIZE@", Release: "@RELEASE@", XZ: strings.Join(xz, " ")}
}

// Version is [Version].
func (parameters) Version() string { return Version }

// ReleasePattern is a regular expression that matches Release alone.
func (p parameters) ReleasePattern() string { return regexp.QuoteMeta(p.Release) }

// render returns the module's code, the packer if it is needed, and other files
// under the names that they are to have. Those that are templates are filled in.
func render(p parameters, names map[string]string) (map[string][]byte, error) {
	templates, err := template.ParseFS(files, "*/*.tmpl")
	if err != nil {
		return nil, fmt.Errorf("rendering the module's source: %w", err)
	}
	rendered := map[string][]byte{}
	for _, name := range []string{"kheaders_main.c", "kheaders_data.S"} {
		names[name] = "template/" + name
	}
	for name, file := range names {
		var out bytes.Buffer
		if strings.HasSuffix(file, ".tmpl") {
			err = templates.ExecuteTemplate(&out, path.Base(file), p)
			rendered[name] = out.Bytes()
		} else {
			rendered[name], err = files.ReadFile(file)
		}
		if err != nil {
			return nil, fmt.Errorf("rendering %s: %w", name, err)
		}
	}
	if p.XZ != "" {
		rendered[PackerName] = Packer()
	}
	return rendered, nil
}
