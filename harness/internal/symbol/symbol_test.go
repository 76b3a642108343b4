// SPDX-License-Identifier: BSD-3-Clause

package symbol_test

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/symbol"
	"github.com/kheaders/kheaders/harness/target"
)

// program has functions at the start of two sections. One of them has another
// function inlined.
const program = `
extern int sink;
static inline __attribute__((always_inline)) void inner(int n)
{
	if (n > 3)
		__builtin_trap();
}
int outer(int n)
{
	sink = n;
	inner(n);
	return 0;
}
__attribute__((section(".init.text"))) int begin(int n)
{
	sink = n;
	__builtin_trap();
}
__attribute__((noinline)) static int twice(int n)
{
	sink = n;
	return n;
}
int user(int n) { return twice(n) + 1; }
`

// trap returns the offset of a function's trap, found in its code. To know what
// a trap looks like, it compiles a function that does nothing else.
func trap(t *testing.T, a target.Target, file *elf.File, sym elf.Symbol) uint64 {
	t.Helper()
	alone, symbols := symbolsOf(t, compile(t, a, "alone", "void alone(void) { __builtin_trap(); }"))
	i := slices.IndexFunc(symbols, func(s elf.Symbol) bool { return s.Name == "alone" })
	at := strings.Index(code(t, file, sym), code(t, alone, symbols[i]))
	if at < 0 {
		t.Fatalf("%s does not trap", sym.Name)
	}
	return uint64(at)
}

// code is the code of a function.
func code(t *testing.T, file *elf.File, sym elf.Symbol) string {
	t.Helper()
	text, err := file.Sections[sym.Section].Data()
	if err != nil {
		t.Fatal(err)
	}
	return string(text[sym.Value : sym.Value+sym.Size])
}

// compile makes an object file.
func compile(t *testing.T, a target.Target, name, text string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	source, object := filepath.Join(dir, name+".c"), filepath.Join(dir, name+".o")
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	argv := slices.Concat([]string{"-O2", "-fno-reorder-blocks-and-partition", "-falign-functions=1", "-c", source, "-o", object}, flags)
	if out, err := exec.Command(a.Cross()+"gcc", argv...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return object
}

// symbolsOf returns an object file and its symbols.
func symbolsOf(t *testing.T, path string) (*elf.File, []elf.Symbol) {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	symbols, err := file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	return file, symbols
}

// addressed sets the addresses of an object file's sections, which have no part
// in a relocatable file.
func addressed(t *testing.T, path string, base, step uint64) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// In the header of an ELF64 file, the section headers' place is at 40, their
	// number at 60. Each has 64 bytes, with the address at 16.
	order := binary.LittleEndian
	headers, n := order.Uint64(text[40:]), order.Uint16(text[60:])
	for i := range uint64(n) {
		order.PutUint64(text[headers+64*i+16:], base+i*step)
	}
	out := filepath.Join(filepath.Dir(path), fmt.Sprintf("addressed-%#x-%#x.o", base, step))
	if err := os.WriteFile(out, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return out
}

// scripts are how the sections of a relocatable file, and those of a kernel, get
// addresses.
const (
	moduleScript = "SECTIONS { . = 0x260; .data : { *(.data*) } .init.text : { *(.init.text*) } . = ALIGN(0x10000); .text : { *(.text*) } }"
	kernelScript = "sink = 0xffff800080000000; SECTIONS { . = 0xffff800080010000; .text : { *(.text*) } . = ALIGN(0x10000); .init.text : { *(.init.text*) } }"
)

// link runs the linker with a script.
func link(t *testing.T, a target.Target, object, name, script string, flags ...string) string {
	t.Helper()
	dir := filepath.Dir(object)
	out, lds := filepath.Join(dir, name), filepath.Join(dir, name+".lds")
	if err := os.WriteFile(lds, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	argv := append(flags, "-T", lds, object, "-o", out)
	if text, err := exec.Command(a.Cross()+"ld", argv...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

func TestFrames(t *testing.T) {
	for _, a := range target.All() {
		for _, version := range []string{"-gdwarf-4", "-gdwarf-5"} {
			t.Run(a.Name+version, func(t *testing.T) {
				// A kernel's code is not position independent, and far from zero.
				path := compile(t, a, "mod", program, version, "-fno-pic", "-mcmodel=large")
				file, symbols := symbolsOf(t, path)
				testFrames(t, a, file, symbols, path, path)
				for _, linked := range []string{
					addressed(t, path, 0x260, 0), addressed(t, path, 0, 8), addressed(t, path, 0, 1<<20), addressed(t, path, 1<<63, 1<<40),
					link(t, a, path, "mod.ko", moduleScript, "-r"),
					link(t, a, path, "exec", kernelScript, "-e", "0", "-z", "max-page-size=4096"),
					link(t, a, path, "relocatable", kernelScript, "-e", "0", "-z", "max-page-size=4096", "--emit-relocs"),
					link(t, a, path, "dyn", kernelScript, "-e", "0", "-z", "max-page-size=4096", "-shared", "-Bsymbolic", "--emit-relocs", "-z", "notext"),
				} {
					t.Run(filepath.Base(linked), func(t *testing.T) { testFrames(t, a, file, symbols, path, linked) })
				}
			})
		}
	}
}

// testFrames compares places in a file with the source. Where its traps are is
// read from the object file that it was made of.
func testFrames(t *testing.T, a target.Target, file *elf.File, symbols []elf.Symbol, source, path string) {
	t.Helper()
	o, err := symbol.Open(path, filepath.Dir(source))
	if err != nil {
		t.Fatal(err)
	}
	if linked, _ := symbolsOf(t, path); path != source && linked.Section(".text").Addr == 0 {
		t.Fatal("its sections have no addresses")
	}
	at := map[string]elf.Symbol{}
	for _, s := range symbols {
		at[s.Name] = s
	}
	for name, want := range map[string]string{
		"outer": "[{inner mod.c 6} {outer mod.c 11}]",
		"begin": "[{begin mod.c 17}]",
	} {
		s := at[name]
		if got := fmt.Sprint(o.Frames(name, trap(t, a, file, s), s.Size)); got != want {
			t.Errorf("%s is at %s, want %s", name, got, want)
		}
		// The kernel rounds up to the next
		// function.
		if got := o.Frames(name, 0, s.Size+8); len(got) == 0 {
			t.Errorf("%s has no lines when it is 8 bytes longer", name)
		}
		for _, size := range []uint64{0, s.Size - 1} {
			if got := o.Frames(name, 0, size); got != nil {
				t.Errorf("%s of %d bytes has lines, but not that size: %v", name, size, got)
			}
		}
		if got := o.Frames(name, s.Size, s.Size); got != nil {
			t.Errorf("behind the end of %s is %v", name, got)
		}
	}
	if got := o.Frames("nobody", 0, 8); got != nil {
		t.Errorf("a function that there is not is at %v", got)
	}
}

// TestAmbiguous has two functions of one name and size, linked from two files.
func TestAmbiguous(t *testing.T) {
	for _, a := range target.All() {
		again := strings.NewReplacer("outer", "outer2", "begin", "begin2", "user", "user2").Replace(program)
		one, two := compile(t, a, "one", program, "-g"), compile(t, a, "two", again, "-g")
		path := filepath.Join(t.TempDir(), "both.o")
		if out, err := exec.Command(a.Cross()+"ld", "-r", one, two, "-o", path).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		o, err := symbol.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		_, symbols := symbolsOf(t, path)
		symbols = slices.DeleteFunc(symbols, func(s elf.Symbol) bool { return s.Name != "twice" })
		if len(symbols) != 2 || symbols[0].Size != symbols[1].Size {
			t.Fatalf("%s: not two of a kind: %v", a.Name, symbols)
		}
		if got := o.Frames("twice", 0, symbols[0].Size); got != nil {
			t.Errorf("%s: of two functions of that name and size, %v was taken", a.Name, got)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	a := target.All()[0]
	plain := compile(t, a, "mod", program)
	if _, err := symbol.Open(plain); !errors.Is(err, symbol.ErrNoLines) {
		t.Errorf("without debug information: %v", err)
	}
	whole, err := os.ReadFile(compile(t, a, "mod", program, "-g"))
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 20, 64, len(whole) / 2, len(whole) - 1} {
		cut := filepath.Join(t.TempDir(), "cut.o")
		if err := os.WriteFile(cut, whole[:size], 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := symbol.Open(cut); err == nil {
			t.Errorf("a file of %d bytes of %d is taken", size, len(whole))
		}
	}
	if _, err := symbol.Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestAnnotate(t *testing.T) {
	a := target.All()[0]
	path := compile(t, a, "mod", program, "-g")
	o, err := symbol.Open(path, filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	file, symbols := symbolsOf(t, path)
	s := symbols[slices.IndexFunc(symbols, func(s elf.Symbol) bool { return s.Name == "outer" })]
	place := fmt.Sprintf("outer+%#x/%#x", trap(t, a, file, s), s.Size)
	lines := []string{
		"[    1.5] RIP: 0010:" + place + " [mod]",
		"[    1.5]  ? " + place + " [mod 0123abcd]",
		"[    1.5]  " + place,
		"[    1.5]  strange+0x1/0x2 [other]",
	}
	asked := map[string]int{}
	got := symbol.Annotate(lines, func(module string) *symbol.Object {
		if asked[module]++; module == "mod" {
			return o
		}
		return nil
	})
	source := " (mod.c:6, inlined in outer at mod.c:11)"
	if got[0] != lines[0]+source || !strings.HasPrefix(got[1], lines[1]+" (mod.c:") || got[2] != lines[2] || got[3] != lines[3] {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	if asked[""] != 1 || asked["other"] != 1 {
		t.Errorf("asked for %v", asked)
	}
	// Other architectures have another name for the program counter.
	if got := symbol.Annotate([]string{"[    1.5] pc : " + place}, func(string) *symbol.Object { return o }); len(got) != 1 || !strings.HasSuffix(got[0], source) {
		t.Errorf("got %q", got)
	}
	if got := symbol.Annotate(lines[2:], func(string) *symbol.Object { return nil }); got != nil {
		t.Errorf("nothing is known, and %q is said", got)
	}
}
