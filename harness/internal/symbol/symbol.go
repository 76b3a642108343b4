// SPDX-License-Identifier: BSD-3-Clause

// Package symbol finds the source lines of the addresses in a kernel's report,
// which the kernel prints as function+offset/size.
//
// The kernel's own scripts for it, decode_stacktrace.sh and faddr2line, are not
// used: the first lets a shell evaluate what a guest has printed, and takes a
// module's .init.text for its .text; the second reads the whole of vmlinux for
// each address. What is not certain is not said here: a function of which there
// are several, or one of another size than was printed, has no lines.
package symbol

import (
	"bytes"
	"cmp"
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// ErrNoLines is the error of a file without debug information.
var ErrNoLines = errors.New("no debug information")

// Object is a vmlinux or a module with its debug information.
type Object struct {
	dwarf     *dwarf.Data
	functions map[string][]function
	// roots are the directories that the names of source files are shortened by.
	roots []string
}

// function is a function's place in an object.
type function struct {
	address uint64
	// size is the function's own, room what there is up to the next one. The
	// kernel prints the latter.
	size, room uint64
}

// Frame is a place in the source.
type Frame struct {
	// Function is the function's name; File and Line are where in it.
	Function string
	File     string
	Line     int
}

// Open reads an ELF file. It fails with [ErrNoLines] when the file has no debug
// information. Source files below one of the roots are named from there.
func Open(path string, roots ...string) (*Object, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	file, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if file.Section(".debug_info") == nil && file.Section(".zdebug_info") == nil {
		return nil, fmt.Errorf("%s: %w", path, ErrNoLines)
	}
	if file.Type == elf.ET_REL {
		if err := layOut(file, text); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	o := &Object{roots: roots, functions: map[string][]function{}}
	if o.dwarf, err = file.DWARF(); err != nil {
		return nil, fmt.Errorf("%s: debug information: %w", path, err)
	}
	symbols, err := file.Symbols()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	o.index(file, symbols)
	return o, nil
}

// layOut gives the sections of an object file, which all begin at zero, addresses
// of their own, so that a place in .init.text is not one in .text. It does so by
// moving the symbols, to which the relocations of the debug information refer.
func layOut(file *elf.File, text []byte) error {
	starts := make([]uint64, len(file.Sections))
	const page = 1 << 12
	next := uint64(page)
	table := -1
	for i, s := range file.Sections {
		if s.Type == elf.SHT_SYMTAB {
			table = i
		}
		if s.Flags&elf.SHF_ALLOC != 0 {
			starts[i] = next
			next += (s.Size + 2*page - 1) &^ (page - 1)
		}
	}
	if table < 0 {
		return errors.New("no symbols")
	}
	s := file.Sections[table]
	if s.Offset > uint64(len(text)) || s.FileSize > uint64(len(text))-s.Offset {
		return errors.New("the symbols are cut off")
	}
	// A symbol of ELF64: name, info, other, section at 6, value at 8, size.
	for sym := range slices.Chunk(text[s.Offset:s.Offset+s.FileSize], elf.Sym64Size) {
		if len(sym) < elf.Sym64Size {
			break
		}
		section := int(file.ByteOrder.Uint16(sym[6:]))
		if section < len(starts) {
			file.ByteOrder.PutUint64(sym[8:], file.ByteOrder.Uint64(sym[8:])+starts[section])
		}
	}
	return nil
}

// index notes where the functions are.
func (o *Object) index(file *elf.File, symbols []elf.Symbol) {
	code := func(s elf.Symbol) bool {
		return int(s.Section) < len(file.Sections) && file.Sections[s.Section].Flags&elf.SHF_EXECINSTR != 0 &&
			elf.ST_TYPE(s.Info) != elf.STT_SECTION
	}
	symbols = slices.DeleteFunc(symbols, func(s elf.Symbol) bool { return !code(s) })
	slices.SortFunc(symbols, func(a, b elf.Symbol) int {
		return cmp.Or(cmp.Compare(a.Section, b.Section), cmp.Compare(a.Value, b.Value))
	})
	for i, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC {
			continue
		}
		f := function{address: s.Value, size: s.Size, room: s.Size}
		for _, next := range symbols[i+1:] {
			if next.Section != s.Section {
				break
			}
			if next.Value > s.Value {
				f.room = next.Value - s.Value
				break
			}
		}
		o.functions[s.Name] = append(o.functions[s.Name], f)
	}
}

// find returns the address of offset in the function that the kernel says has
// the given size, if there can be no other.
func (o *Object) find(name string, offset, size uint64) (uint64, bool) {
	list := o.functions[name]
	fits := func(match func(function) bool) []function {
		return slices.Collect(func(yield func(function) bool) {
			for _, f := range list {
				if offset < f.size && match(f) && !yield(f) {
					return
				}
			}
		})
	}
	found := fits(func(f function) bool { return f.room == size || f.size == size })
	if len(found) == 0 {
		// A module's last function has, for the kernel, all that is left of
		// its pages.
		found = fits(func(f function) bool { return f.room < size && len(list) == 1 })
	}
	if len(found) != 1 {
		return 0, false
	}
	return found[0].address + offset, true
}

// Frames returns what is at an address: the source line in the innermost
// inlined function, then that of each call, out to the function itself. It is
// empty when that is not certain.
func (o *Object) Frames(name string, offset, size uint64) []Frame {
	pc, ok := o.find(name, offset, size)
	if !ok {
		return nil
	}
	reader := o.dwarf.Reader()
	unit, err := reader.SeekPC(pc)
	if err != nil {
		return nil
	}
	lines, err := o.dwarf.LineReader(unit)
	if err != nil || lines == nil {
		return nil
	}
	at, ok := line(lines, pc)
	if !ok {
		return nil
	}
	chain, err := o.chain(reader, unit, pc)
	if err != nil || len(chain) == 0 {
		return nil
	}
	files := lines.Files()
	frames := []Frame{{File: o.short(at.File.Name), Line: at.Line}}
	for i := len(chain) - 1; ; i-- {
		frames[len(frames)-1].Function = o.name(chain[i], name)
		if i == 0 {
			return frames
		}
		file, _ := chain[i].Val(dwarf.AttrCallFile).(int64)
		line, _ := chain[i].Val(dwarf.AttrCallLine).(int64)
		if file < 0 || int(file) >= len(files) || files[file] == nil {
			return frames
		}
		frames = append(frames, Frame{File: o.short(files[file].Name), Line: int(line)})
	}
}

// line returns the line of an address. LineReader's own SeekPC takes the sequences
// of a table to be in the order of their addresses, and a compiler has one for
// each section.
func line(lines *dwarf.LineReader, pc uint64) (dwarf.LineEntry, bool) {
	var at, next dwarf.LineEntry
	at.EndSequence = true
	for lines.Next(&next) == nil {
		if !at.EndSequence && at.Address <= pc && pc < next.Address {
			return at, at.File != nil
		}
		at = next
	}
	return at, false
}

// chain returns the function that holds an address, and the inlined ones in it
// that do, outermost first.
func (o *Object) chain(reader *dwarf.Reader, unit *dwarf.Entry, pc uint64) ([]*dwarf.Entry, error) {
	reader.Seek(unit.Offset)
	if _, err := reader.Next(); err != nil {
		return nil, err
	}
	var chain []*dwarf.Entry
	for depth := 0; ; {
		e, err := reader.Next()
		if err != nil || e == nil {
			return chain, err
		}
		if e.Tag == 0 {
			// The end of some entry's children. When they are those of the
			// innermost that holds the address, or of the unit, that was all.
			if depth == 0 {
				return chain, nil
			}
			depth--
			continue
		}
		holds := false
		switch e.Tag {
		case dwarf.TagSubprogram, dwarf.TagInlinedSubroutine:
			ranges, err := o.dwarf.Ranges(e)
			if err != nil {
				return nil, err
			}
			holds = slices.ContainsFunc(ranges, func(r [2]uint64) bool { return r[0] <= pc && pc < r[1] })
		case dwarf.TagLexDwarfBlock: // what is inlined may be in one
			if e.Children {
				depth++
			}
			continue
		}
		switch {
		case holds:
			chain = append(chain, e)
			if !e.Children {
				return chain, nil
			}
			depth = 0
		case e.Children:
			reader.SkipChildren()
		}
	}
}

// name returns the name of a function, which may be that of the one that it is
// an instance of.
func (o *Object) name(e *dwarf.Entry, otherwise string) string {
	const far = 4 // longer chains of references do not occur
	for range far {
		if name, ok := e.Val(dwarf.AttrName).(string); ok {
			return name
		}
		origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
		if !ok {
			if origin, ok = e.Val(dwarf.AttrSpecification).(dwarf.Offset); !ok {
				break
			}
		}
		reader := o.dwarf.Reader()
		reader.Seek(origin)
		next, err := reader.Next()
		if err != nil || next == nil {
			break
		}
		e = next
	}
	return otherwise
}

// short names a source file from its root.
func (o *Object) short(file string) string {
	file = filepath.Clean(file)
	for _, root := range o.roots {
		if rel, err := filepath.Rel(root, file); err == nil && filepath.IsLocal(rel) {
			return rel
		}
	}
	return file
}
