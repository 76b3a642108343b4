// SPDX-License-Identifier: BSD-3-Clause

// Package symbol finds the source lines of the addresses in a kernel's report,
// which the kernel prints as function+offset/size.
//
// The kernel has scripts for this, decode_stacktrace.sh and faddr2line, but
// they do not fit: the first lets a shell evaluate what a guest printed, and
// mistakes a module's .init.text for its .text; the second reads all of vmlinux
// for each address. This package says only what is certain. If several
// functions match, or the printed size is not the function's, there are no
// lines.
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

// ErrNoLines says that a file has no debug information.
var ErrNoLines = errors.New("no debug information")

// Object is a vmlinux or a module with its debug information.
type Object struct {
	dwarf     *dwarf.Data
	functions map[string][]function
	// roots are the directories that source file names are relative to.
	roots []string
}

// function is where a function is in an object.
type function struct {
	address uint64
	// size is the function's own size, room the distance to the next
	// function. The kernel prints the latter.
	size, room uint64
}

// Frame is a place in the source.
type Frame struct {
	// Function is the function's name, File and Line the place in it.
	Function string
	File     string
	Line     int
}

// Open reads an ELF file. It fails with [ErrNoLines] if the file has no debug
// information. The names of source files below one of the roots are relative to
// that root.
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

// layOut gives each section of an object file its own addresses. Symbols count from
// the start of their sections there, so a place in .init.text would look like one in
// .text. The addresses that linker scripts give to sections have no part in that. It
// moves the symbols, because the debug information's relocations refer to these.
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

// find returns the address of offset in the function that has the given size
// according to the kernel. It fails if several functions match.
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
		// For the kernel, a module's last function has the rest of its
		// pages.
		found = fits(func(f function) bool { return f.room < size && len(list) == 1 })
	}
	if len(found) != 1 {
		return 0, false
	}
	return found[0].address + offset, true
}

// Frames returns what is at an address: the source line in the innermost
// inlined function, then the line of each call, out to the function itself. It
// returns nothing if that is not certain.
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

// line returns the line of an address. LineReader's own SeekPC expects a
// table's sequences in the order of their addresses, but compilers emit one
// sequence for each section.
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

// chain returns the function that contains an address, and the inlined
// functions within it that do, outermost first.
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
			// An entry's children end here. If the entry is the
			// innermost one that contains the address, or the unit,
			// we are done.
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
		case dwarf.TagLexDwarfBlock: // may contain inlined functions
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

// name returns the name of a function. An instance of another function has that
// function's name.
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

// short returns a source file's name relative to its root.
func (o *Object) short(file string) string {
	file = filepath.Clean(file)
	for _, root := range o.roots {
		if rel, err := filepath.Rel(root, file); err == nil && filepath.IsLocal(rel) {
			return rel
		}
	}
	return file
}
