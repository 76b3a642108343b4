// SPDX-License-Identifier: BSD-3-Clause

// Package source generates the source of the kernel module: everything but the
// archive in a directory where
//
//	make -C KERNEL M=$PWD
//
// builds kheaders.ko, for any kernel from 4.14 on, without kheaders being
// installed. The files come from the directory template; those that end in .tmpl
// are filled in.
package source

import (
	"bytes"
	"embed"
	"errors"
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

// ArchiveName is the name that the archive must have in the directory.
const ArchiveName = "kheaders_data.tar.xz"

// The symbols at the archive's first byte and after its last one. They differ
// from those of the kernel's own kheaders, which may be built in as well.
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
	// is missing if the release is not known.
	ReleaseField = "headers_release"
)

// Archive describes the archive that the module embeds.
type Archive struct {
	// SHA256 is its digest, in lower case hexadecimal.
	SHA256 string
	// Size is its length in bytes. The build fails if the file's differs.
	Size int64
	// Release is the kernel release that the headers are from, as uname -r
	// prints it. Empty if not known.
	Release string
	// SrcArch is the directory below arch/ that they are from. Empty if not
	// known.
	SrcArch string
}

//go:embed template intree
var files embed.FS

// What a value may be. Archives come from anywhere, and these end up in C, in make
// and in dkms.conf, which is a shell script: no character may have a meaning there.
var (
	validSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)
	// utsname's field has 64 bytes, with the terminating zero.
	validRelease = regexp.MustCompile(`^([0-9][0-9A-Za-z._+~-]{0,62})?$`)
	validSrcArch = regexp.MustCompile(`^([a-z][0-9a-z_]{0,62})?$`)
	// validWord is one of the compressor's command line.
	validWord = regexp.MustCompile(`^[0-9A-Za-z_./=,+-]+$`)
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

// Render returns the files of the module's directory, by base name. The archive
// is not among them: the caller puts it there as [ArchiveName]. The same archive
// gives the same files.
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
// module for any kernel. Each module gets that kernel's headers: the build packs
// those that it builds against. It needs a C compiler, make and xz. The argument
// xz is the command that compresses standard input to standard output.
func DKMS(xz []string) (map[string][]byte, error) {
	p, err := packing(xz)
	if err != nil {
		return nil, err
	}
	return render(p, map[string]string{
		"Kbuild":        "template/Kbuild.tmpl",
		"Makefile":      "template/Makefile",
		"dkms.conf":     "template/dkms.conf.tmpl",
		"kheaders.h.in": "template/kheaders.h.tmpl",
	})
}

// parameters fill in the templates.
type parameters struct {
	// As in [Archive].
	SHA256, Size, Release, SrcArch string
	// XZ is the compressor's command line, for a build that packs the headers
	// itself. Empty if the archive is there already.
	XZ string
	// Hostprogs is kbuild's variable for programs that run on the host.
	Hostprogs string
}

// packing returns the parameters of a build that packs its own archive, and then
// replaces the @WORDS@ in kheaders.h.
func packing(xz []string) (parameters, error) {
	if len(xz) == 0 {
		return parameters{}, errors.New("rendering the module's source: no command to compress with")
	}
	for _, word := range xz {
		if !validWord.MatchString(word) {
			return parameters{}, fmt.Errorf("rendering the module's source: %q cannot be in a command in a makefile", word)
		}
	}
	return parameters{SHA256: "@SHA256@", Size: "@SIZE@", Release: "@RELEASE@", XZ: strings.Join(xz, " ")}, nil
}

// Version is [Version].
func (parameters) Version() string { return Version }

// ReleasePattern is a regular expression that matches only Release.
func (p parameters) ReleasePattern() string { return regexp.QuoteMeta(p.Release) }

// render returns the module's code, the packer if the build needs it, and the
// files that names maps from their new names. Templates are filled in.
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
