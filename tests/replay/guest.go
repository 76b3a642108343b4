// SPDX-License-Identifier: BSD-3-Clause

package replay

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/kheaders/kheaders/initramfs/wire"
)

// unpack returns the files of an initramfs by their paths: of cpio archives in
// the format newc, one behind the other, of which later ones win.
func unpack(image []byte) (map[string][]byte, error) {
	const header, fieldSize, sizeField, nameField = 110, 8, 6, 11
	align := func(n int) int { return (n + 3) &^ 3 }
	files := map[string][]byte{}
	for at := 0; at < len(image); {
		if image[at] == 0 { // between two archives
			at += 4
			continue
		}
		if len(image)-at < header || !bytes.HasPrefix(image[at:], []byte("070701")) {
			return nil, fmt.Errorf("no cpio header at %d", at)
		}
		field := func(n int) (int, error) {
			from := at + 6 + n*fieldSize
			v, err := strconv.ParseUint(string(image[from:from+fieldSize]), 16, 31)
			return int(v), err
		}
		size, err := field(sizeField)
		if err != nil {
			return nil, err
		}
		length, err := field(nameField)
		if err != nil {
			return nil, err
		}
		data := align(at + header + length)
		if data+size > len(image) {
			return nil, errors.New("the archive is cut short")
		}
		name := strings.TrimRight(string(image[at+header:at+header+length]), "\x00")
		if name != "TRAILER!!!" {
			files[name] = image[data : data+size]
		}
		at = align(data + size)
	}
	return files, nil
}

// readPlan returns the plan in an initramfs.
func readPlan(files map[string][]byte) (wire.Plan, error) {
	var plan wire.Plan
	text, ok := files[strings.TrimPrefix(wire.PlanPath, "/")]
	if !ok {
		return plan, errors.New("the initramfs has no plan")
	}
	if err := json.Unmarshal(text, &plan); err != nil {
		return plan, fmt.Errorf("the plan: %w", err)
	}
	return plan, nil
}

// healthy returns the events of a guest in which every test passes, or the
// first one fails if what is booted is not what the plan says.
func (m *machine) healthy() (string, error) {
	tests, err := declared(m.files[strings.TrimPrefix(m.plan.TestBinary, "/")])
	if err != nil {
		return "", err
	}
	var out strings.Builder
	uptime := 0.5
	send := func(e wire.Event) {
		uptime += 0.125
		e.Uptime = uptime
		line, _ := json.Marshal(e) // it has no value that could not be encoded
		fmt.Fprintf(&out, "%s\n", line)
	}
	send(wire.Event{Kind: wire.KindHello, Version: wire.Version})
	digest, problem := m.inspect()
	code := 0
	for i, test := range tests {
		send(wire.Event{Kind: wire.KindStart, Test: test})
		status := wire.StatusPass
		if i == 0 {
			send(wire.Event{Kind: wire.KindAttr, Test: test, Key: "sha256", Value: digest})
			if problem != nil {
				send(wire.Event{Kind: wire.KindOutput, Test: test, Output: problem.Error() + "\n"})
				status, code = wire.StatusFail, 1
			}
		}
		send(wire.Event{Kind: wire.KindEnd, Test: test, Status: status, Elapsed: 0.125})
	}
	send(wire.Event{Kind: wire.KindExit, Code: code})
	send(wire.Event{Kind: wire.KindDone})
	return out.String(), nil
}

// inspect looks for the archive in what is booted, and for everything else that
// the plan names.
func (m *machine) inspect() (digest string, err error) {
	e := m.plan.Expect
	for _, path := range append([]string{e.Module, e.OwnModule, e.Unsigned, e.Compressed, e.BPF}, m.plan.Drivers...) {
		if _, ok := m.files[strings.TrimPrefix(path, "/")]; path != "" && !ok {
			return "", fmt.Errorf("%s is not in the initramfs", path)
		}
	}
	holder := m.kernel
	if e.Module != "" {
		holder = m.files[strings.TrimPrefix(e.Module, "/")]
	}
	start := bytes.Index(holder, []byte("\xfd7zXZ\x00"))
	if start < 0 || int64(len(holder)-start) < e.Size {
		return "", errors.New("no archive of that size is booted")
	}
	sum := sha256.Sum256(holder[start : int64(start)+e.Size])
	if digest = hex.EncodeToString(sum[:]); digest != e.SHA256 {
		err = fmt.Errorf("the archive has sha256 %s, not %s", digest, e.SHA256)
	}
	return digest, err
}
