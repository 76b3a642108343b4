// SPDX-License-Identifier: BSD-3-Clause

package kmod

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/module/source"
)

// What can be wrong with a file that should be our module.
var (
	// ErrNotModule says that the file is not an uncompressed kernel module.
	ErrNotModule = errors.New("not a kernel module")
	// ErrTruncated says that the file ends before what its header promises.
	ErrTruncated = errors.New("the file is cut short")
	// ErrNotKernel says that the file is not a vmlinux.
	ErrNotKernel = errors.New("not a kernel")
	// ErrNoArchive says that the module has no archive between two symbols.
	ErrNoArchive = errors.New("no headers archive in it")
)

// Info is what a .ko says about itself, and the archive it contains.
type Info struct {
	// Machine is the architecture that it was built for.
	Machine elf.Machine
	// ByteOrder is the architecture's.
	ByteOrder elf.Data
	// Name is the module's name.
	Name string
	// Vermagic is what the kernel compares with its own before loading the
	// module: the release, then the options that change the ABI.
	Vermagic string
	// SHA256 is the digest of the archive in it, in lower case hexadecimal.
	SHA256 string
	// Size is the length of the archive in bytes.
	Size int64
	// Signed says that the module ends with a signature, no matter whose.
	Signed bool
	// Modinfo is all of .modinfo. If a key occurs more than once, the first
	// value counts, as it does for the kernel.
	Modinfo map[string]string
}

// Release returns the kernel release that the module was built for.
func (i Info) Release() string {
	release, _, _ := strings.Cut(i.Vermagic, " ")
	return release
}

// Inspect reads a .ko. For a bad one it fails with [ErrNotModule],
// [ErrTruncated] or [ErrNoArchive].
func Inspect(path string) (Info, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Info{}, fmt.Errorf("reading the module: %w", err)
	}
	info, err := Parse(data)
	if err != nil {
		return Info{}, fmt.Errorf("%s: %w", path, err)
	}
	return info, nil
}

// Parse reads the bytes of our .ko.
func Parse(data []byte) (Info, error) {
	f, modinfo, err := parse(data)
	if err != nil {
		return Info{}, err
	}
	archive, err := embedded(data, f)
	if err != nil {
		return Info{}, err
	}
	digest := sha256.Sum256(archive)
	return Info{
		Machine:   f.Machine,
		ByteOrder: f.Data,
		Name:      modinfo["name"],
		Vermagic:  modinfo["vermagic"],
		SHA256:    hex.EncodeToString(digest[:]),
		Size:      int64(len(archive)),
		Signed:    bytes.HasSuffix(data, []byte(signatureMark)),
		Modinfo:   modinfo,
	}, nil
}

// signatureMark is the end of a signed module.
const signatureMark = "~Module signature appended~\n"

// parse reads the bytes of any .ko: a relocatable ELF file with a section
// .modinfo, which is a list of NUL-terminated key=value strings.
func parse(data []byte) (*elf.File, map[string]string, error) {
	if !bytes.HasPrefix(data, []byte(elf.ELFMAG)) {
		return nil, nil, ErrNotModule
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, nil, malformed(err)
	}
	if f.Type != elf.ET_REL {
		return nil, nil, fmt.Errorf("%w: an ELF file of type %v", ErrNotModule, f.Type)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, nil, fmt.Errorf("%w: it has no .modinfo", ErrNotModule)
	}
	text, err := contents(data, section)
	if err != nil {
		return nil, nil, err
	}
	return f, parseModinfo(text), nil
}

// InspectKernel reads a vmlinux with the headers built in. The result has
// Machine, ByteOrder, SHA256 and Size only.
func InspectKernel(path string) (Info, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Info{}, fmt.Errorf("reading the kernel: %w", err)
	}
	info, err := ParseKernel(data)
	if err != nil {
		return Info{}, fmt.Errorf("%s: %w", path, err)
	}
	return info, nil
}

// ParseKernel reads the bytes of a vmlinux, as [InspectKernel] does.
func ParseKernel(data []byte) (Info, error) {
	if !bytes.HasPrefix(data, []byte(elf.ELFMAG)) {
		return Info{}, ErrNotKernel
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return Info{}, ErrTruncated
	}
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrNotKernel, err)
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return Info{}, fmt.Errorf("%w: an ELF file of type %v", ErrNotKernel, f.Type)
	}
	archive, err := embedded(data, f)
	if err != nil {
		return Info{}, err
	}
	digest := sha256.Sum256(archive)
	return Info{Machine: f.Machine, ByteOrder: f.Data, SHA256: hex.EncodeToString(digest[:]), Size: int64(len(archive))}, nil
}

// CheckKernel compares what [InspectKernel] returned with what is wanted,
// except for the release, which it does not have. A difference is a
// [*MismatchError].
func (i Info) CheckKernel(want Want) error {
	if got := i.arch(); got != want.Target.Name {
		return &MismatchError{Of: "kernel", What: "architecture", Got: got, Want: want.Target.Name}
	}
	if i.SHA256 != want.SHA256 {
		return &MismatchError{Of: "kernel", What: "archive", Got: "sha256:" + i.SHA256, Want: "sha256:" + want.SHA256}
	}
	return nil
}

// malformed turns an error of debug/elf into one of ours.
func malformed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return fmt.Errorf("%w: %w", ErrNotModule, err)
}

// contents returns the bytes of a section, without copying them.
func contents(data []byte, s *elf.Section) ([]byte, error) {
	if s.Type != elf.SHT_PROGBITS || s.Flags&elf.SHF_COMPRESSED != 0 {
		return nil, fmt.Errorf("%w: %s has no plain content", ErrNotModule, s.Name)
	}
	length := uint64(len(data))
	if s.Offset > length || s.FileSize > length-s.Offset {
		return nil, ErrTruncated
	}
	return data[s.Offset : s.Offset+s.FileSize], nil
}

func parseModinfo(text []byte) map[string]string {
	modinfo := make(map[string]string)
	for field := range strings.SplitSeq(string(text), "\x00") {
		key, value, ok := strings.Cut(field, "=")
		if _, seen := modinfo[key]; ok && !seen {
			modinfo[key] = value
		}
	}
	return modinfo
}

// embedded returns the bytes between the module's two symbols.
func embedded(data []byte, f *elf.File) ([]byte, error) {
	symbols, err := f.Symbols()
	if errors.Is(err, elf.ErrNoSymbols) {
		return nil, fmt.Errorf("%w: no symbol table", ErrNoArchive)
	}
	if err != nil {
		return nil, malformed(err)
	}
	start, err := find(symbols, source.StartSymbol)
	if err != nil {
		return nil, err
	}
	end, err := find(symbols, source.EndSymbol)
	if err != nil {
		return nil, err
	}
	if start.Section != end.Section || start.Section == elf.SHN_UNDEF || int(start.Section) >= len(f.Sections) {
		return nil, fmt.Errorf("%w: its symbols are not in one section", ErrNoArchive)
	}
	bytes, err := contents(data, f.Sections[start.Section])
	if err != nil {
		return nil, err
	}
	// In a module, which is relocatable, a symbol's value counts from the start
	// of its section. The section's address may still be set, and says nothing.
	base := f.Sections[start.Section].Addr
	if f.Type == elf.ET_REL {
		base = 0
	}
	from, to := start.Value-base, end.Value-base
	if from >= to || to > uint64(len(bytes)) {
		return nil, fmt.Errorf("%w: its symbols are at %#x and %#x of %#x bytes", ErrNoArchive, from, to, len(bytes))
	}
	return bytes[from:to], nil
}

func find(symbols []elf.Symbol, name string) (elf.Symbol, error) {
	var found []elf.Symbol
	for _, s := range symbols {
		if s.Name == name {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		return elf.Symbol{}, fmt.Errorf("%w: %d symbols %s", ErrNoArchive, len(found), name)
	}
	return found[0], nil
}

// Want is what a module must be to be worth booting.
type Want struct {
	// Target is the architecture of the kernel.
	Target target.Target
	// Release is the kernel's release, as uname -r prints it.
	Release string
	// SHA256 is the digest of the archive, in lower case hexadecimal.
	SHA256 string
	// Signed says that the kernel refuses modules without a signature.
	Signed bool
}

// MismatchError says that a module, or a kernel, is not the wanted one.
type MismatchError struct {
	// Of says what differs; empty means the module.
	Of string
	// What names the property that differs.
	What string
	// Got is its actual value.
	Got string
	// Want is what it should be.
	Want string
}

// Error says what differs, in one line.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("the %s's %s is %s, not %s", cmp.Or(e.Of, "module"), e.What, e.Got, e.Want)
}

// Check compares a module with what is wanted, and its archive with what the
// module itself says about it. The first difference is a [*MismatchError],
// with a hint.
func (i Info) Check(want Want) error {
	const (
		rebuild = "build the module against the kernel that is to load it"
		repack  = "make the module's directory and the module again, from this archive"
	)
	type check struct{ what, got, want, hint string }
	checks := []check{
		{"architecture", i.arch(), want.Target.Name, rebuild},
		{"name", strconv.Quote(i.Name), strconv.Quote(source.ModuleName), "this is another module"},
		{"kernel release", strconv.Quote(i.Release()), strconv.Quote(want.Release), rebuild},
		{"archive", "sha256:" + i.SHA256, "sha256:" + want.SHA256, repack},
	}
	if want.Signed && !i.Signed {
		checks = append(checks, check{"signature", "missing", "as the kernel wants it", "sign it with the kernel's scripts/sign-file and key"})
	}
	// The kernel's own kheaders.ko has none of these fields.
	described := func(field, what, is string) {
		if declared, ok := i.Modinfo[field]; ok {
			checks = append(checks, check{what, declared, is, repack})
		}
	}
	described(source.VersionField, "field "+source.VersionField, source.Version)
	described(source.SHA256Field, "field "+source.SHA256Field, i.SHA256)
	described(source.SizeField, "field "+source.SizeField, strconv.FormatInt(i.Size, 10))
	described(source.ReleaseField, "field "+source.ReleaseField, want.Release)
	for _, c := range checks {
		if c.got != c.want {
			return hint.New(&MismatchError{What: c.what, Got: c.got, Want: c.want}, c.hint)
		}
	}
	return nil
}

// arch returns our name for the architecture, or ELF's if we have none.
func (i Info) arch() string {
	if t, ok := target.LookupELF(i.Machine, i.ByteOrder); ok {
		return t.Name
	}
	return fmt.Sprintf("%v, %v", i.Machine, i.ByteOrder)
}
