// SPDX-License-Identifier: BSD-3-Clause

package replay

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/u-root/mkuimage/cpio"
)

// module is the only Go module that can be compiled. Its sources are in the
// working directory.
const module = "github.com/kheaders/kheaders"

// compile is the Go command, as far as building a guest's programs needs it. It
// fails if GOFAIL is in the environment.
func compile(args []string) error {
	output := option(args, "-o")
	switch {
	case has(args, "env"):
		for _, name := range args[1:] {
			fmt.Println(os.Getenv(name))
		}
		return nil
	case os.Getenv("GOFAIL") != "":
		return errors.New("GOFAIL asks for this")
	case has(args, "build") && args[len(args)-1] == "github.com/u-root/mkuimage/cmd/mkuimage":
		// It is this program, which acts by the name it is called by.
		self, err := os.Executable()
		if err != nil {
			return err
		}
		return os.Symlink(self, output)
	case has(args, "test -c"):
		return compileTests(args[len(args)-1], output)
	}
	return fmt.Errorf("go %s is not known to the fake", strings.Join(args, " "))
}

// compileTests writes a test binary: an ELF file with nothing but a symbol for
// each function in the package's tests.
func compileTests(pkg, output string) error {
	fmt.Printf("compiling %s for %s\n", pkg, os.Getenv("GOARCH"))
	dir, ok := strings.CutPrefix(pkg, module+"/")
	if !ok {
		return fmt.Errorf("package %s is not in std", pkg)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	if len(files) == 0 {
		fmt.Printf("?   \t%s\t[no test files]\n", pkg)
		return nil
	}
	var symbols []string
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				symbols = append(symbols, pkg+"."+f.Name.Name)
			}
		}
	}
	return os.WriteFile(output, functions(symbols), 0o755)
}

// functions returns an ELF file with a symbol for each function.
func functions(names []string) []byte {
	strtab := []byte{0}
	symtab := []elf.Sym64{{}}
	for _, name := range names {
		symtab = append(symtab, elf.Sym64{Name: uint32(len(strtab)), Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC), Shndx: uint16(elf.SHN_ABS)})
		strtab = append(append(strtab, name...), 0)
	}
	var out bytes.Buffer
	header, symbols := uint64(binary.Size(elf.Header64{})), uint64(len(symtab)*elf.Sym64Size)
	put := func(v any) { _ = binary.Write(&out, binary.LittleEndian, v) } // a buffer takes everything
	put(elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Version: uint32(elf.EV_CURRENT), Ehsize: uint16(header),
		Shoff: header + symbols + uint64(len(strtab)), Shentsize: uint16(binary.Size(elf.Section64{})), Shnum: 3, Shstrndx: 2,
	})
	put(symtab)
	put(strtab)
	put([]elf.Section64{
		{},
		{Type: uint32(elf.SHT_SYMTAB), Off: header, Size: symbols, Link: 2, Info: 1, Entsize: elf.Sym64Size},
		{Type: uint32(elf.SHT_STRTAB), Off: header + symbols, Size: uint64(len(strtab))},
	})
	return out.Bytes()
}

// declared returns the tests in a test binary, in its order.
func declared(binary []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		return nil, fmt.Errorf("the test binary: %w", err)
	}
	symbols, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("the test binary: %w", err)
	}
	var tests []string
	for _, s := range symbols {
		if name := s.Name[strings.LastIndexByte(s.Name, '.')+1:]; strings.HasPrefix(name, "Test") && name != "TestMain" {
			tests = append(tests, name)
		}
	}
	return tests, nil
}

// pack is mkuimage. Its base image has a file named after each command.
func pack(args []string) error {
	output := option(args, "-o")
	if output == "" {
		return errors.New("no -o")
	}
	var records []cpio.Record
	for _, arg := range args {
		if strings.Contains(arg, "/cmds/core/") || strings.HasPrefix(arg, module+"/") {
			records = append(records, cpio.StaticFile("bbin/"+filepath.Base(arg), os.Getenv("GOARCH"), 0o755))
		}
	}
	slices.SortFunc(records, func(a, b cpio.Record) int { return strings.Compare(a.Name, b.Name) })
	var image bytes.Buffer
	out := cpio.Newc.Writer(&image)
	for _, record := range records {
		if err := out.WriteRecord(record); err != nil {
			return err
		}
	}
	if err := cpio.WriteTrailer(out); err != nil {
		return err
	}
	return os.WriteFile(output, image.Bytes(), 0o644)
}
