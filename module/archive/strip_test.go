// SPDX-License-Identifier: BSD-3-Clause

package archive_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kheaders/kheaders/module/archive"
)

var update = flag.Bool("update", false, "write the golden files")

// corpus returns the headers of testdata/strip by name.
func corpus(tb testing.TB) map[string]string {
	tb.Helper()
	paths, err := filepath.Glob("testdata/strip/*.h")
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no headers in testdata/strip: %v", err)
	}
	files := map[string]string{}
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			tb.Fatal(err)
		}
		files[filepath.Base(p)] = string(text)
	}
	return files
}

func TestStripGolden(t *testing.T) {
	for name, text := range corpus(t) {
		got := archive.Strip(nil, []byte(text))
		golden := filepath.Join("testdata/strip", name+".golden")
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestStrip(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"code only", "int a;\n", "int a;\n"},
		{"a comment is all", "/* a */", ""},
		{"a line of it", "/* a */\n", ""},
		{"end of line", "int a; /* a */\n", "int a;\n"},
		{"end of file", "int a; /* a */", "int a;"},
		{"between tokens", "a/**/b", "a b"},
		{"blanks around", "a  /**/  b", "a  b"},
		{"start of line", "/* a */int b;", " int b;"},
		{"operators", "a+/**/+b", "a+ +b"},
		{"would open a comment", "a //**/* b", "a //**/* b"},
		{"slash and star", "a /\t/**/* b", "a /\t* b"},
		{"string", `"/* a */"`, `"/* a */"`},
		{"escaped quote", `"\"/*"/**/x`, `"\"/*" x`},
		{"escaped backslash", `"\\"/*"*/x`, `"\\" x`},
		{"escape over a continuation", "\"\\\\\n\"/*\"/**/x", "\"\\\\\n\"/*\" x"},
		{"unmatched quote", "isn't /* a\nb /* c */ d", "isn't /* a\nb d"},
		{"unmatched quote goes on", "isn't \\\n/* a */\nb", "isn't \\\n/* a */\nb"},
		{"line comment", "// /* a\nb/**/c", "// /* a\nb c"},
		{"line comment goes on", "// \\\n/* a\nb/**/c", "// \\\n/* a\nb c"},
		{"line comment split", "/\\\n/ /* a\nb/**/c", "/\\\n/ /* a\nb c"},
		{"no line comment inside", "/* // */ a", " a"},
		{"comment split", "a/\\\n*b*\\\n/c", "a c"},
		{"star slash split twice", "a/* *\\\n\\\n/c", "a c"},
		{"not its own end", "/*/ a */b", " b"},
		{"backslash before", "a \\ /**/\nb", "a \\ /**/\nb"},
		{"backslash, then two", "a \\/**//**/\nb", "a \\/**/\nb"},
		{"continuation after", "a /**/  \\\nb", "a \\\nb"},
		{"continuation around", "a\\\n/**/\\\nb", "a\\\n \\\nb"},
		{"continuation before", "a \\\n/**/\nb", "a \\\n\nb"},
		{"continuation before the end", "a \\\n/**/", "a \\\n"},
		{"blank lines", "\n\na\n\n \t\nb\n\n", "a\nb\n"},
		{"blank line ends a macro", "#define A \\\n\nb", "#define A \\\n\nb"},
		{"no blank line ends a comment that stays", "/* SPDX\n\n*/", "/* SPDX\n\n*/"},
		{"SPDX", "/* SPDX */ /* x */", "/* SPDX */"},
		{"lower case", "/* spdx */", ""},
		{"include", "#include <a/*b>/**/\nc", "#include <a/*b>\nc"},
		{"include of a macro", "#include A </*b>*/ c", "#include A < c"},
		{"include with no end", "#include <a/*b*/\nc", "#include <a\nc"},
		{"comments before include", "/**/ # /**/ include /**/ <a/*b>", " # include <a/*b>"},
		{"an include that is none", "a\\\n#include </*b>*/", "a\\\n#include <"},
		{"raw string", `R"(")" /* " */`, `R"(")"`},
		{"no raw string", `aR"(" /* " */`, `aR"("`},
		{"raw string without an end", `R"(" /* a */`, `R"("`},
		{"delimiter too long", `R"01234567890123456(" /* a */`, `R"01234567890123456("`},
		{"lone slash at the end", "a /", "a /"},
		{"lone backslash at the end", `a \`, `a \`},
		{"quote at the end", `a "\`, `a "\`},
	} {
		if got := string(archive.Strip(nil, []byte(tt.in))); got != tt.want {
			t.Errorf("%s: Strip(%q) = %q, want %q", tt.name, tt.in, got, tt.want)
		}
	}
}

func TestStripAppends(t *testing.T) {
	// Strip neither changes nor looks at what is in dst already.
	for _, before := range []string{"x", "x ", "x\\\n", "x\n\n"} {
		for name, text := range corpus(t) {
			want := before + string(archive.Strip(nil, []byte(text)))
			if got := string(archive.Strip([]byte(before), []byte(text))); got != want {
				t.Errorf("%s after %q: got %q, want %q", name, before, got, want)
			}
		}
	}
}

var (
	splice     = regexp.MustCompile(`\\[ \t\f\v]*\n`)
	whiteSpace = regexp.MustCompile(`[ \t\f\v]+`)
	lineEdges  = regexp.MustCompile(` ?\n[ \n]*`)
	// It matches no end of a comment but its own, so the rest of a pattern
	// cannot make the match longer.
	comment = regexp.MustCompile(`/\*(?:[^*]|\*+[^*/])*\*+/`)
	// One token, first match wins. In an include directive, the header name
	// is one token.
	token = regexp.MustCompile(`(?s)^(?:` + strings.Join([]string{
		comment.String(),
		`/\*.*`,
		`//[^\n]*`,
		`"(?:\\[^\n]|[^"\\\n])*"`,
		`'(?:\\[^\n]|[^'\\\n])*'`,
		`["'][^\n]*`,
		`[A-Za-z0-9_]+`,
		`.`,
	}, "|") + `)`)
	includeLine = regexp.MustCompile(strings.ReplaceAll(
		`^(?:[ \t]|COMMENT)*(?:#|%:)(?:[ \t]|COMMENT)*(?:include|include_next|import|embed)(?:[ \t]|COMMENT)*(<[^>\n]*>|"[^"\n]*")`, "COMMENT", comment.String()))
)

// tokens is a slow, simple preprocessor lexer to compare with. It returns the
// tokens, with one blank for any white space and comments between them.
func tokens(text string) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = splice.ReplaceAllString(text, "")
	var b strings.Builder
	include := func() {
		if m := includeLine.FindStringSubmatchIndex(text); m != nil {
			// Comments inside are white space, the header name is not.
			b.WriteString(comment.ReplaceAllString(text[:m[2]], " "))
			b.WriteString(text[m[2]:m[3]])
			text = text[m[3]:]
		}
	}
	include()
	for text != "" {
		tok := token.FindString(text)
		if tok == "" { // not UTF-8
			tok = text[:1]
		}
		text = text[len(tok):]
		switch {
		case strings.HasPrefix(tok, "/*") && len(tok) >= 4 && strings.HasSuffix(tok, "*/"):
			b.WriteByte(' ')
		case tok == "\n":
			b.WriteByte('\n')
			include()
		case strings.HasPrefix(tok, "//"), tok[0] == '"', tok[0] == '\'', strings.HasPrefix(tok, "/*"):
			// White space counts in these.
			b.WriteString(strings.NewReplacer(" ", "\x01", "\t", "\x02", "\f", "\x03", "\v", "\x04", "\r", "\x05", "\n", "\x06").Replace(tok))
		default:
			b.WriteString(tok)
		}
	}
	out := whiteSpace.ReplaceAllString(b.String(), " ")
	out = lineEdges.ReplaceAllString(out, "\n")
	return strings.Trim(out, " \n")
}

// checkStrip checks what must hold for any text. The tables test raw strings:
// recognizing them here would take all of the preprocessor's phases.
func checkStrip(t *testing.T, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, `R"`, `r"`)
	got := string(archive.Strip(nil, []byte(text)))
	if diff := cmp.Diff(tokens(text), tokens(got)); diff != "" {
		t.Errorf("other tokens after stripping %q to %q (-want +got):\n%s", text, got, diff)
	}
	if len(got) > len(text) {
		t.Errorf("stripping %q gives more: %q", text, got)
	}
	if again := string(archive.Strip(nil, []byte(got))); again != got {
		t.Errorf("stripping %q twice gives %q, then %q", text, got, again)
	}
}

func TestStripKeepsTokens(t *testing.T) {
	for _, text := range corpus(t) {
		checkStrip(t, text)
	}
}

func TestTokens(t *testing.T) {
	// The comparison proves nothing unless it sees these differences.
	for _, tt := range []struct{ a, b string }{
		{"a/**/b", "ab"},
		{`"a /* b */"`, `"a "`},
		{"a\nb", "a b"},
		{"#define A(x)", "#define A (x)"},
		{"a \\\n/**/b", "a \n b"},
		{"#include <a/*b>", "#include <a"},
		{"// a /* b */", "// a"},
	} {
		if tokens(tt.a) == tokens(tt.b) {
			t.Errorf("%q and %q are said to have the same tokens", tt.a, tt.b)
		}
	}
}

func FuzzStrip(f *testing.F) {
	for _, text := range corpus(f) {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		// The compiler ends a file at a zero byte or warns about it. The
		// other bytes stand for white space in the comparison.
		if bytes.ContainsAny(text, "\x00\x01\x02\x03\x04\x05\x06") {
			return
		}
		checkStrip(t, string(text))
	})
}

func BenchmarkStrip(b *testing.B) {
	var all []byte
	for _, text := range corpus(b) {
		all = append(all, text...)
	}
	all = bytes.Repeat(all, 1000)
	var dst []byte
	b.SetBytes(int64(len(all)))
	for b.Loop() {
		dst = archive.Strip(dst[:0], all)
	}
}
