// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kheaders/kheaders/initramfs/wire"
)

// decodeAll decodes a stream that arrives in pieces.
func decodeAll(t *testing.T, stream []byte, size int) []Line {
	t.Helper()
	var lines []Line
	d := NewDecoder(func(l Line) { lines = append(lines, l) })
	for piece := range slices.Chunk(stream, size) {
		if n, err := d.Write(piece); n != len(piece) || err != nil {
			t.Fatalf("Write returned %d, %v", n, err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if cap(d.buf) > 2*wire.MaxLine {
		t.Fatalf("the buffer has grown to %d bytes", cap(d.buf))
	}
	return lines
}

func TestDecoder(t *testing.T) {
	long := strings.Repeat("o", wire.MaxLine-len(`{"kind":"output","output":""}`)-1)
	tests := []struct {
		name string
		in   string
		want wire.Event
		// err must be in the error, if the line is malformed.
		err string
	}{
		{name: "hello", in: `{"kind":"hello","uptime":0.5,"version":1}`, want: wire.Event{Kind: wire.KindHello, Uptime: 0.5, Version: 1}},
		{name: "a carriage return", in: "{\"kind\":\"done\"}\r", want: wire.Event{Kind: wire.KindDone}},
		{name: "the longest line", in: `{"kind":"output","output":"` + long + `"}`, want: wire.Event{Kind: wire.KindOutput, Output: long}},
		{name: "one byte more", in: `{"kind":"output","output":"` + long + `o"}`, err: "longer than"},
		{name: "a foreign hello", in: `{"kind":"hello","version":9,"new":true}`, want: wire.Event{Kind: wire.KindHello, Version: 9}},
		{name: "our hello with more", in: `{"kind":"hello","version":1,"new":true}`, err: "unknown field"},
		{name: "empty", in: "", err: "empty line"},
		{name: "blank", in: "  ", err: "empty line"},
		{name: "no object", in: "[]", err: "no event"},
		{name: "null", in: "null", err: "unknown kind"},
		{name: "two objects", in: `{"kind":"done"}{"kind":"done"}`, err: "more than one"},
		{name: "noise behind", in: `{"kind":"done"}x`, err: "more than one"},
		{name: "no kind", in: `{}`, err: "unknown kind"},
		{name: "unknown kind", in: `{"kind":"dance"}`, err: "unknown kind"},
		{name: "a number that is none", in: `{"kind":"done","uptime":1e999}`, err: "no event"},
		{name: "negative uptime", in: `{"kind":"done","uptime":-1}`, err: "negative"},
		{name: "negative duration", in: `{"kind":"end","test":"T","status":"pass","elapsed":-1}`, err: "negative"},
		{name: "start of nothing", in: `{"kind":"start"}`, err: "without a test"},
		{name: "end of nothing", in: `{"kind":"end","status":"pass"}`, err: "without a test"},
		{name: "end without status", in: `{"kind":"end","test":"T"}`, err: "unknown status"},
		{name: "a name with an escape", in: `{"kind":"start","test":"T\u001b[2J"}`, err: "does not print"},
		{name: "a name with a blank", in: `{"kind":"start","test":"T x"}`, err: "does not print"},
		{name: "a long name", in: `{"kind":"start","test":"` + strings.Repeat("T", maxName+1) + `"}`, err: "too long"},
		{name: "a fact without a key", in: `{"kind":"attr","value":"x"}`, err: "without a proper key"},
		{name: "binary", in: "\x00\xff\xfe", err: "no event"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1, 1000, 1 << 20} {
				lines := decodeAll(t, []byte(tt.in+"\n"+`{"kind":"done"}`+"\n"), size)
				if len(lines) != 2 || lines[1].Err != nil || lines[1].Event.Kind != wire.KindDone {
					t.Fatalf("the next line is lost: %+v", lines)
				}
				got := lines[0]
				if tt.err == "" {
					if diff := cmp.Diff(tt.want, got.Event); diff != "" || got.Err != nil {
						t.Errorf("error %v (-want +got):\n%s", got.Err, diff)
					}
					continue
				}
				if got.Err == nil || !strings.Contains(got.Err.Error(), tt.err) {
					t.Errorf("the error is %v, want one with %q", got.Err, tt.err)
				}
				if len(got.Raw) > maxRaw || got.Event != (wire.Event{}) {
					t.Errorf("a malformed line leaves %+v", got)
				}
			}
		})
	}
}

func TestDecoderCutShort(t *testing.T) {
	lines := decodeAll(t, []byte(`{"kind":"done"}`), 4)
	if len(lines) != 1 || !errors.Is(lines[0].Err, io.ErrUnexpectedEOF) || lines[0].Raw != `{"kind":"done"}` {
		t.Errorf("%+v", lines)
	}
	if lines := decodeAll(t, nil, 1); lines != nil {
		t.Errorf("an empty stream has lines: %+v", lines)
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add([]byte(`{"kind":"hello","uptime":0.5,"version":1}`+"\n"), uint16(3))
	f.Fuzz(func(t *testing.T, stream []byte, size uint16) {
		recorder := NewRecorder()
		whole := decodeAll(t, stream, max(1, len(stream)))
		pieces := decodeAll(t, stream, max(1, int(size)))
		if len(whole) != len(pieces) {
			t.Fatalf("%d lines in whole, %d in pieces", len(whole), len(pieces))
		}
		for i, l := range whole {
			if l.Event != pieces[i].Event || l.Raw != pieces[i].Raw || (l.Err == nil) != (pieces[i].Err == nil) {
				t.Fatalf("line %d: %+v in whole, %+v in pieces", i, l, pieces[i])
			}
			if (l.Err != nil) != (l.Event == wire.Event{}) || len(l.Raw) > maxRaw {
				t.Fatalf("neither event nor error: %+v", l)
			}
			recorder.Add(l)
		}
		rec := recorder.Record()
		if len(rec.Tests) > maxTests || len(rec.Attrs) > maxAttrs || len(rec.Breaches) > maxBreaches || len(rec.Output) > 3*maxOutput {
			t.Fatalf("out of bounds: %d tests, %d facts, %d breaches", len(rec.Tests), len(rec.Attrs), len(rec.Breaches))
		}
		if rec.Malformed > rec.BreachCount {
			t.Fatalf("%d malformed lines, %d breaches", rec.Malformed, rec.BreachCount)
		}
		// The host expects a test that no stream can name.
		if res := Decide(Evidence{Declared: []string{"Test never"}, SHA256: "00", Record: rec}); res.Verdict == Pass {
			t.Fatalf("%+v", res)
		}
	})
}
