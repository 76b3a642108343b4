// SPDX-License-Identifier: BSD-3-Clause

package guest

import (
	"cmp"
	"encoding/binary"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// TestHeadersInBPF loads a BPF program that was compiled against the headers in
// the archive and reads the kernel's structures. It must find what the kernel
// reports through other interfaces. With another kernel's headers it would read
// at the wrong offsets.
func TestHeadersInBPF(t *testing.T) {
	begin(t)
	if expect.BPF == "" {
		t.Skip("not-applicable: no BPF program was asked for")
	}
	// The kernel runs the program on the calling thread, so that must stay ours.
	runtime.LockOSThread()

	spec, err := ebpf.LoadCollectionSpec(expect.BPF)
	if err != nil {
		t.Fatalf("reading %s: %v", expect.BPF, err)
	}
	program, err := ebpf.NewProgram(spec.Programs["task"])
	if err != nil {
		t.Fatalf("loading the program: %v", err)
	}
	defer func() {
		if err := program.Close(); err != nil {
			t.Errorf("unloading the program: %v", err)
		}
	}()

	// Values that no field has by chance. The thread ends with the test.
	const comm, fsuid = "k3rnel-task", 4711
	if err := os.WriteFile("/proc/thread-self/comm", []byte(comm), 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setfsuid(fsuid); err != nil {
		t.Fatal(err)
	}
	version, err := versionCode(cmp.Or(expect.Version, expect.Release))
	if err != nil {
		t.Fatal(err)
	}
	// The program numbers its questions in this order.
	for question, answer := range []struct {
		what string
		want uint32
	}{
		{"LINUX_VERSION_CODE", uint32(version)},
		{"task->pid", uint32(unix.Gettid())},
		{"task->tgid", uint32(os.Getpid())},
		{"task->real_parent->tgid", uint32(os.Getppid())},
		{"task->comm", text(comm)},
		{"task->cred->fsuid", fsuid},
		{"task->mm->arg_start", uint32(argStart(t))},
		{"task->nsproxy->uts_ns->name.release", text(expect.Release)},
	} {
		got, err := program.Run(&ebpf.RunOptions{Context: []uint64{uint64(question)}})
		if err != nil {
			t.Fatalf("running the program: %v", err)
		}
		if got != answer.want {
			t.Errorf("%s is %#x in the kernel's memory, as the headers describe it; it has to be %#x", answer.what, got, answer.want)
		}
	}
}

// text returns the first four bytes of a text, as the number that they are in
// memory.
func text(s string) uint32 { return binary.NativeEndian.Uint32([]byte(s)) }

// argStart returns the address of our arguments: field 48 of stat in proc(5).
func argStart(t *testing.T) uint64 {
	t.Helper()
	stat := readFile(t, "/proc/self/stat")
	// The second field is a name in parentheses, which may contain anything.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	start, err := strconv.ParseUint(fields[48-3], 10, 64)
	if err != nil {
		t.Fatalf("/proc/self/stat: %v", err)
	}
	return start
}
