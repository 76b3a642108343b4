// SPDX-License-Identifier: BSD-3-Clause

package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/kheaders/kheaders/initramfs/wire"
)

// unpack returns the files of an initramfs by path. An initramfs is a sequence of
// cpio archives in the format newc; later ones win.
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
