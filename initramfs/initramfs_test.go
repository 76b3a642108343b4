// SPDX-License-Identifier: BSD-3-Clause

package initramfs

import (
	"bytes"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/u-root/mkuimage/cpio"
)

// writeBase writes a base archive of a directory and a file, followed by more
// zero bytes.
func writeBase(t *testing.T, more int) string {
	t.Helper()
	var b bytes.Buffer
	w := cpio.Newc.Writer(&b)
	for _, r := range []cpio.Record{cpio.Directory("bin", 0o755), cpio.StaticFile("bin/init", "init", 0o755)} {
		if err := w.WriteRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
	b.Write(make([]byte, more))
	name := filepath.Join(t.TempDir(), "base.cpio")
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// records returns name, mode and content of an archive's records.
func records(t *testing.T, data []byte) []string {
	t.Helper()
	list, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(data)))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, r := range list {
		content := ""
		if r.ReaderAt != nil {
			text, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
			if err != nil {
				t.Fatal(err)
			}
			content = string(text)
		}
		lines = append(lines, strings.TrimSpace(strconv.FormatUint(r.Mode, 8)+" "+r.Name+" "+content))
		if r.MTime != 0 || r.UID != 0 || r.GID != 0 {
			t.Errorf("%s has the time %d and the owner %d:%d", r.Name, r.MTime, r.UID, r.GID)
		}
	}
	return lines
}

func TestWrite(t *testing.T) {
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := []File{
		{Path: "kheaders/guest.test", Mode: 0o755, Source: source},
		{Path: "bin/uinit", Mode: 0o755, Data: []byte("agent")},
		{Path: "a/b/c/deep", Mode: 0o644, Data: []byte("odd")},
		{Path: "kheaders/a", Mode: 0o444},
		{Path: "top", Mode: 0o600, Data: []byte("t")},
	}
	want := []string{
		"40755 a", "40755 a/b", "40755 a/b/c", "100644 a/b/c/deep odd",
		"40755 bin", "100755 bin/uinit agent",
		"40755 kheaders", "100444 kheaders/a", "100755 kheaders/guest.test from a file",
		"100600 top t",
	}
	for more := range 9 {
		base := writeBase(t, more)
		var out bytes.Buffer
		if err := Write(&out, base, files); err != nil {
			t.Fatal(err)
		}
		first, err := os.ReadFile(base)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(out.Bytes(), first) {
			t.Fatal("the base is not at the beginning")
		}
		start := (len(first) + 3) &^ 3
		if pad := out.Bytes()[len(first):start]; strings.Trim(string(pad), "\x00") != "" {
			t.Errorf("the padding is % x", pad)
		}
		if got := records(t, out.Bytes()[start:]); !slices.Equal(got, want) {
			t.Errorf("behind a base of %d bytes are\n%s\nwant\n%s", len(first), strings.Join(got, "\n"), strings.Join(want, "\n"))
		}

		// The order of the files does not matter.
		var again bytes.Buffer
		backwards := slices.Clone(files)
		slices.Reverse(backwards)
		if err := Write(&again, base, backwards); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), again.Bytes()) {
			t.Error("the same files give other bytes")
		}
		if backwards[0].Path != "top" {
			t.Error("the caller's list was sorted")
		}
	}

	// The comparison must be able to fail.
	var other bytes.Buffer
	files[1].Data = []byte("agenT")
	if err := Write(&other, writeBase(t, 0), files); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	files[1].Data = []byte("agent")
	if err := Write(&out, writeBase(t, 0), files); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(out.Bytes(), other.Bytes()) {
		t.Error("other files give the same bytes")
	}
}

func TestWriteNothing(t *testing.T) {
	base := writeBase(t, 0)
	var out bytes.Buffer
	if err := Write(&out, base, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := records(t, out.Bytes()), []string{"40755 bin", "100755 bin/init init"}; !slices.Equal(got, want) {
		t.Errorf("the archive has %q, want %q", got, want)
	}
}

// full is a writer with room for some bytes.
type full int

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	if len(p) > int(*f) {
		return 0, errFull
	}
	*f -= full(len(p))
	return len(p), nil
}

func TestWriteErrors(t *testing.T) {
	base := writeBase(t, 1)
	absent := filepath.Join(t.TempDir(), "absent")
	if err := Write(io.Discard, absent, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a base: %v", err)
	}
	err := Write(io.Discard, base, []File{{Path: "kheaders/kheaders.ko", Source: absent, Data: []byte("not this")}})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), absent) {
		t.Errorf("without a source: %v", err)
	}

	files := []File{{Path: "a/b", Data: []byte("text")}}
	var out bytes.Buffer
	if err := Write(&out, base, files); err != nil {
		t.Fatal(err)
	}
	for room := range out.Len() {
		f := full(room)
		if err := Write(&f, base, files); !errors.Is(err, errFull) {
			t.Fatalf("with room for %d of %d bytes: %v", room, out.Len(), err)
		}
	}
}

// TestCommands checks that go.mod keeps every command of the image: commands.go
// must import what Commands returns, and mkuimage.
func TestCommands(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "commands.go", nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, i := range file.Imports {
		name, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, name)
	}
	want := []string{"github.com/u-root/mkuimage/cmd/mkuimage"}
	const ours = "github.com/kheaders/kheaders/"
	for _, name := range Commands() {
		if !strings.HasPrefix(name, ours) {
			want = append(want, name)
			continue
		}
		if _, err := os.Stat(filepath.Join("..", strings.TrimPrefix(name, ours), "main.go")); err != nil {
			t.Error(err)
		}
	}
	slices.Sort(kept)
	slices.Sort(want)
	if !slices.Equal(kept, want) {
		t.Errorf("commands.go has\n%s\nand Commands\n%s", strings.Join(kept, "\n"), strings.Join(want, "\n"))
	}
	if len(slices.Compact(want)) != len(kept) {
		t.Error("a command is there twice")
	}
	for _, name := range []string{Init, "gosh"} {
		if !slices.Contains(want, "github.com/u-root/u-root/cmds/core/"+name) {
			t.Errorf("%s is not among the commands", name)
		}
	}
}
