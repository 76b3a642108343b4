// SPDX-License-Identifier: BSD-3-Clause

package replay

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/initramfs/wire"
)

// DirVariable names the environment variable with the directory that the fake
// QEMU reads and writes. Its files, all of them optional, say what the machine
// does. A file in a subdirectory named after a QEMU is only for that one:
//
//	console       what the kernel prints
//	events.jsonl  what the guest reports
//	stderr        what QEMU itself says
//	exit          QEMU's exit code, the name of the signal that kills it, "hang"
//	              if it does not end, or "flood" if the guest reports for ever
//
// Without console the guest prints one line, and without events.jsonl it is
// healthy. ${SHA256}, ${SIZE}, ${RELEASE} and ${MACHINE} stand for what the plan
// expects. The fake QEMU writes
//
//	booted/argv       QEMU's command lines, one per line
//	booted/plan.json  the last guest's plan
//	booted/files      the names and sizes of the files in its initramfs
const DirVariable = "GUEST"

// machine is a running QEMU.
type machine struct {
	// name is what it was called as, and dir the value of DirVariable.
	name, dir string
	args      []string
	// kernel and files are what it boots.
	kernel []byte
	files  map[string][]byte
	plan   wire.Plan
}

// emulate is QEMU. It does not return.
func emulate(argv []string) {
	m := machine{name: filepath.Base(argv[0]), dir: os.Getenv(DirVariable), args: argv[1:]}
	err := m.load()
	if err == nil {
		err = m.run()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", m.name, err)
		os.Exit(1)
	}
	end(m.script("exit", "0"))
}

// load reads what to boot.
func (m *machine) load() (err error) {
	if err := os.MkdirAll(filepath.Join(m.dir, "booted"), 0o755); err != nil {
		return err
	}
	if err := m.note("argv", os.O_APPEND, m.name+" "+strings.Join(m.args, " ")+"\n"); err != nil {
		return err
	}
	if m.kernel, err = os.ReadFile(option(m.args, "-kernel")); err != nil {
		return fmt.Errorf("could not load kernel: %w", err)
	}
	path := option(m.args, "-initrd")
	if path == "" {
		return nil
	}
	image, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("could not load initrd: %w", err)
	}
	if m.files, err = unpack(image); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if m.plan, err = readPlan(m.files); err != nil {
		return err
	}
	var list strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		fmt.Fprintf(&list, "%s %d\n", name, len(m.files[name]))
	}
	return errors.Join(
		m.note("files", os.O_TRUNC, list.String()),
		m.note("plan.json", os.O_TRUNC, string(m.files[strings.TrimPrefix(wire.PlanPath, "/")])),
	)
}

// note writes a file for the test script to look at.
func (m *machine) note(name string, how int, text string) error {
	f, err := os.OpenFile(filepath.Join(m.dir, "booted", name), os.O_CREATE|os.O_WRONLY|how, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// script returns one of the files that say what the machine does.
func (m *machine) script(name, otherwise string) string {
	for _, dir := range []string{filepath.Join(m.dir, m.name), m.dir} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			return m.expand(string(text))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err.Error()
		}
	}
	return otherwise
}

func (m *machine) expand(text string) string {
	return strings.NewReplacer(
		"${SHA256}", m.plan.Expect.SHA256, "${SIZE}", strconv.FormatInt(m.plan.Expect.Size, 10),
		"${RELEASE}", m.plan.Expect.Release, "${MACHINE}", m.plan.Expect.Machine,
	).Replace(text)
}

// run prints and reports everything that the machine has to say.
func (m *machine) run() error {
	console := io.Writer(os.Stdout)
	if file, err := m.device("console"); err != nil {
		return err
	} else if file != nil {
		console = file
	}
	if m.files == nil {
		// A kernel that comes up finds no root.
		if _, err := io.WriteString(console, "[    0.100000] Kernel panic - not syncing: VFS: Unable to mount root fs\n"); err != nil {
			return err
		}
		end("hang")
	}
	said := m.script("console", "[    0.000000] Linux version "+m.plan.Expect.Release+"\n")
	if _, err := io.WriteString(console, said); err != nil {
		return err
	}
	if _, err := io.WriteString(os.Stderr, m.script("stderr", "")); err != nil {
		return err
	}
	if m.plan.TestBinary == "" {
		_, err := io.WriteString(console, "a shell\n")
		return err
	}
	events, err := m.device("events")
	if err != nil {
		return err
	}
	if events == nil {
		return errors.New("nobody listens to the guest's events")
	}
	healthy, err := m.healthy()
	if err != nil {
		return err
	}
	_, err = io.WriteString(events, m.script("events.jsonl", healthy))
	for strings.TrimSpace(m.script("exit", "")) == "flood" && err == nil {
		_, err = fmt.Fprintf(events, `{"kind":"output","output":"%s"}`+"\n", strings.Repeat("again ", 4<<10))
	}
	return err
}

// device opens the file behind a character device. It returns nil if there is
// none.
func (m *machine) device(id string) (*os.File, error) {
	for _, arg := range m.args {
		if path, ok := strings.CutPrefix(arg, "file,id="+id+",path="); ok {
			return os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
		}
	}
	return nil, nil
}

// end ends QEMU in the way that the script asks for.
func end(how string) {
	how = strings.TrimSpace(how)
	if how == "hang" {
		time.Sleep(time.Hour)
	}
	if s := unix.SignalNum(how); s != 0 {
		_ = syscall.Kill(os.Getpid(), s)
		time.Sleep(time.Hour)
	}
	code, err := strconv.Atoi(how)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%q is no end\n", how)
		code = 1
	}
	os.Exit(code)
}

// healthy returns the events of a guest where every test passes, except that the
// first one fails if what was booted does not match the plan.
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
		line, _ := json.Marshal(e) // it has only values that JSON can encode
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

// inspect looks for the archive, and for everything else in the plan, in what was
// booted.
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
