// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// canned is a run as it stands in a golden file.
//
// The file's comment says what the run is about. Its section "run" is JSON.
// Its section "transcript" is what the host saw, in order: lines that begin
// with "e " are from the event port, lines that begin with "c " from the
// console; "e- " is a line without its newline, and "e*5 " is five lines, in
// which # is the number. The section "allow" is an allowlist. The section
// "want" is the result.
type canned struct {
	Declared []string `json:"declared"`
	SHA256   string   `json:"sha256"`
	Exit     struct {
		Err          string  `json:"err"`
		Code         int     `json:"code"`
		Signal       string  `json:"signal"`
		Killed       Killed  `json:"killed"`
		LimitSeconds float64 `json:"limit_seconds"`
		Stderr       string  `json:"stderr"`
	} `json:"exit"`
}

// gather collects a canned run's evidence, the way the pipeline does.
func gather(t *testing.T, ar *txtar.Archive) Evidence {
	t.Helper()
	section := func(name string) []byte {
		for _, f := range ar.Files {
			if f.Name == name {
				return f.Data
			}
		}
		return nil
	}
	var run canned
	dec := json.NewDecoder(bytes.NewReader(section("run")))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&run); err != nil {
		t.Fatalf("the section run: %v", err)
	}
	allow, err := ParseAllowlist(bytes.NewReader(section("allow")))
	if err != nil {
		t.Fatal(err)
	}

	recorder, scanner := NewRecorder(), NewScanner(allow)
	events := NewDecoder(func(l Line) {
		recorder.Add(l)
		scanner.SetTest(recorder.Current())
	})
	for line := range strings.Lines(string(section("transcript"))) {
		port, text, _ := strings.Cut(line, " ")
		port, count, _ := strings.Cut(port, "*")
		times, err := strconv.Atoi(cmp.Or(count, "1"))
		if err != nil {
			t.Fatal(err)
		}
		if count != "" {
			var many strings.Builder
			for i := range times {
				many.WriteString(strings.ReplaceAll(text, "#", strconv.Itoa(i)))
			}
			text = many.String()
		}
		switch port {
		case "e":
			_, _ = events.Write([]byte(text))
		case "e-":
			_, _ = events.Write([]byte(strings.TrimSuffix(text, "\n")))
		case "c":
			_, _ = scanner.Write([]byte(text))
		default:
			t.Fatalf("the transcript's line %q is neither from the event port nor from the console", line)
		}
	}
	if err := events.Close(); err != nil {
		t.Fatal(err)
	}

	x := run.Exit
	exit := Exit{
		Code: x.Code, Signal: x.Signal, Killed: x.Killed, LimitSeconds: x.LimitSeconds,
		Stderr: x.Stderr,
	}
	if x.Err != "" {
		exit.Err = errors.New(x.Err)
	}
	return Evidence{
		Declared: run.Declared, SHA256: run.SHA256,
		Record: recorder.Record(), Console: scanner.Console(), Exit: exit,
	}
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[Verdict]bool{BuildFailed: true} // decided before there is a guest
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			res := Decide(gather(t, ar))
			seen[res.Verdict] = true

			// The file's name says which verdict the run must get, so that -update
			// can't bless a wrong one.
			if base := filepath.Base(file); !strings.HasPrefix(base, string(res.Verdict)) {
				t.Errorf("the verdict is %s: %s", res.Verdict, res.Reason)
			}
			if (res.Verdict == Pass) != (len(res.Problems) == 0) {
				t.Errorf("%s with the problems %q", res.Verdict, res.Problems)
			}
			var buf bytes.Buffer
			enc := json.NewEncoder(&buf)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			if err := enc.Encode(res); err != nil {
				t.Fatal(err)
			}
			got := buf.Bytes()

			i := slices.IndexFunc(ar.Files, func(f txtar.File) bool { return f.Name == "want" })
			if *update {
				if i < 0 {
					ar.Files = append(ar.Files, txtar.File{Name: "want"})
					i = len(ar.Files) - 1
				}
				ar.Files[i].Data = got
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if i < 0 {
				t.Fatal("no section want; run the test with -update")
			}
			if diff := gocmp.Diff(string(ar.Files[i].Data), string(got)); diff != "" {
				t.Errorf("the result differs (-want +got):\n%s", diff)
			}
		})
	}
	for _, v := range Precedence() {
		if !seen[v] {
			t.Errorf("no golden file has the verdict %s", v)
		}
	}
}
