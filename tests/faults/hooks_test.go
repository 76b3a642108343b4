// SPDX-License-Identifier: BSD-3-Clause

package faults

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kheaders/kheaders/harness/rig"
	"github.com/kheaders/kheaders/harness/target"
)

// hooks do the damage that needs a program, by the name of the fault.
var hooks = map[string]func(w *world){
	"wrong-release": func(w *world) {
		w.replaceModule(w.edit("vermagic=6.", "vermagic=7."))
	},
	"wrong-vermagic": func(w *world) {
		w.replaceModule(w.edit(" mod_unload ", " mod_unl0ad "))
	},
	"wrong-architecture": func(w *world) {
		for _, other := range target.All() {
			if other.Name != w.target.Name {
				data, err := os.ReadFile(filepath.Join(w.healthy(w.t, rig.DefaultProfile, other).entry, rig.ModuleFile))
				w.must(err)
				w.replaceModule(data)
			}
		}
	},
	"wrong-signature": func(w *world) {
		// The signature is the end of the file, apart from the marker.
		ko := w.ko()
		ko[len(ko)-100] ^= 1
		w.replaceModule(ko)
	},
	"truncated": func(w *world) {
		ko := w.ko()
		w.replaceModule(ko[:len(ko)/2])
	},
	"flipped-archive": func(w *world) {
		ko := w.ko()
		at := bytes.Index(ko, []byte("\xfd7zXZ\x00"))
		if at < 0 {
			w.t.Fatal("no xz stream in the module")
		}
		ko[at+1<<20] ^= 1
		w.replaceModule(ko)
	},

	"qemu-missing": func(w *world) {
		// All other programs stay.
		for _, dir := range filepath.SplitList(w.path) {
			programs, err := os.ReadDir(dir)
			if err != nil {
				continue // as a shell does
			}
			for _, program := range programs {
				if !strings.HasPrefix(program.Name(), "qemu-system-") {
					_ = os.Symlink(filepath.Join(dir, program.Name()), filepath.Join(w.bin, program.Name())) // the first one in PATH wins
				}
			}
		}
		w.path = ""
	},

	"other-kernel": func(w *world) {
		// The kernel gives that error for other reasons too.
		w.after = func(string) {
			want := "kheaders: the headers are those of 6."
			consoles, err := filepath.Glob(filepath.Join(w.results, "*", "console.log"))
			w.must(err)
			for _, name := range consoles {
				text, err := os.ReadFile(name)
				w.must(err)
				for line := range strings.Lines(string(text)) {
					if strings.Contains(line, want) && strings.Contains(line, ", but this kernel is 5.4.0-other") {
						return
					}
				}
			}
			w.t.Errorf("no line of %v has %q", consoles, want)
		}
	},

	"other-headers": func(w *world) {
		clang, err := exec.LookPath("clang")
		w.must(err)
		// clang runs in the directory with the headers.
		w.must(os.WriteFile(filepath.Join(w.bin, "clang"), []byte("#!/bin/sh\n"+
			"[ ! -e include/linux/sched.h ] || sed -i 's/^\tpid_t\t*pid;/long another; &/' include/linux/sched.h\n"+
			"exec "+clang+" \"$@\"\n"), 0o755))
	},

	"kvm-aborts": func(w *world) {
		w.fakeKVM(`tcg: QEMU ended with code -1 under KVM: qemu: error: failed to set MSR 0x10a`)
	},
	"kvm-emulates": func(w *world) { w.fakeKVM(`tcg: the kernel did not come up within 6s under KVM`) },
	"kvm-spins":    func(w *world) { w.fakeKVM(`tcg: the kernel did not come up within 6s under KVM`) },
	"kvm-insisted": func(w *world) { w.fakeKVM("") },
	"kvm-hangs":    func(w *world) { w.fakeKVM("") },

	"disk-full-console": func(w *world) { w.small(w.results, "60m") },
	"disk-full-results": func(w *world) { w.small(w.results, "4m") },
	"disk-full-cache": func(w *world) {
		w.forgetModule()
		w.small(filepath.Join(w.cache, "module"), "2m")
	},

	"cache-flipped": func(w *world) {
		w.damageModule(func(ko []byte) []byte {
			ko[len(ko)/2] ^= 1
			return ko
		})
	},
	"cache-cut": func(w *world) {
		w.damageModule(func(ko []byte) []byte { return ko[:len(ko)-1] })
	},
	"cache-locked": func(w *world) {
		w.forgetModule()
		key := filepath.Base(w.from.entry)
		lock, err := os.Create(filepath.Join(w.cache, "module", key+".lock"))
		w.must(err)
		w.must(syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
		time.AfterFunc(3*time.Second, func() { _ = lock.Close() })
		w.after = func(output string) {
			if want := "waiting for another run with the same module"; !strings.Contains(output, want) {
				w.t.Errorf("it does not say %q", want)
			}
		}
	},
	"cache-twice": func(w *world) {
		w.forgetModule()
		second := w.command(filepath.Join(filepath.Dir(w.results), "second"))
		var output bytes.Buffer
		second.Env = append(second.Env, "KHEADERS_FAULT=the second run")
		second.Stdout, second.Stderr = &output, &output
		w.must(second.Start())
		w.after = func(string) {
			if err := second.Wait(); err != nil {
				w.t.Errorf("the second run: %v\n%s", err, output.String())
			}
		}
	},

	"clock-on-host": func(w *world) { w.kheaders = w.withJumpingClock() },
}

// edit returns the healthy module with one text replaced by another of the same
// length.
func (w *world) edit(from, to string) []byte {
	w.t.Helper()
	ko := w.ko()
	if len(from) != len(to) || bytes.Count(ko, []byte(from)) != 1 {
		w.t.Fatalf("the module has %q %d times", from, bytes.Count(ko, []byte(from)))
	}
	return bytes.Replace(ko, []byte(from), []byte(to), 1)
}

// fakeKVM gives the run a KVM device that opens; what happens then is up to the
// script that replaces QEMU. The run must say which accelerator it uses and
// why, and a second run must remember that.
func (w *world) fakeKVM(want string) {
	w.t.Helper()
	device := filepath.Join(w.bin, "kvm")
	w.must(os.WriteFile(device, nil, 0o600))
	w.args = append(w.args, "--kvm-device", device)
	if want == "" {
		return
	}
	w.after = func(output string) {
		if !strings.Contains(output, want) {
			w.t.Errorf("it does not say %q", want)
		}
		start := time.Now()
		again, err := w.command(w.results).CombinedOutput()
		if err != nil || !strings.Contains(string(again), want+" (remembered)") {
			w.t.Errorf("the second run: %v; it printed:\n%s", err, again)
		}
		w.t.Logf("the second run took %.2f s", time.Since(start).Seconds())
	}
}

// small runs kheaders with a directory on a small file system of its own. root
// may mount that, and so may a user in a user namespace.
func (w *world) small(dir, size string) {
	unshare := []string{"unshare", "--mount"}
	if os.Getuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	w.prefix = slices.Concat(unshare, []string{"sh", "-c", `mount -t tmpfs -o size="$0" tmpfs "$1" && shift && exec "$@"`, size, dir})
	w.after = func(output string) {
		if !regexp.MustCompile(`(?m)^hint: free some space`).MatchString(output) {
			w.t.Error("there is no hint to free some space")
		}
	}
}

// forgetModule makes the run build the module.
func (w *world) forgetModule() {
	w.must(os.RemoveAll(filepath.Join(w.cache, "module")))
	w.must(os.Mkdir(filepath.Join(w.cache, "module"), 0o755))
}

// damageModule changes the module in the cache behind the cache's back, and
// checks that the run rebuilds it.
func (w *world) damageModule(change func(ko []byte) []byte) {
	w.t.Helper()
	healthy := w.ko()
	w.replaceModule(healthy)
	path := filepath.Join(w.cache, "module", filepath.Base(w.from.entry), rig.ModuleFile)
	w.must(os.WriteFile(path, change(slices.Clone(healthy)), 0o644))
	w.after = func(string) {
		now, err := os.ReadFile(path)
		w.must(err)
		if !bytes.Equal(now, healthy) {
			w.t.Error("the cache still has the damage")
		}
	}
}

// withJumpingClock compiles kheaders with a clock whose wall time jumps by 10
// years, back and forth, each time it is read. Its monotonic part stays
// correct.
func (w *world) withJumpingClock() string {
	w.t.Helper()
	dir := w.t.TempDir()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	w.must(err)
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(original)
	w.must(err)
	const look = "sec, nsec, mono := runtimeNow()\n"
	if !strings.Contains(string(text), look) {
		w.t.Fatalf("%s reads the clock in another way than is known here", original)
	}
	jumping := strings.ReplaceAll(string(text), look, look+"\tsec += jump()\n") + `
var jumps uint32

func jump() int64 {
	jumps++
	return int64(jumps%3)*10*365*86400 - 10*365*86400
}
`
	overlay, changed := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "time.go")
	w.must(os.WriteFile(changed, []byte(jumping), 0o644))
	w.must(os.WriteFile(overlay, []byte(`{"Replace": {"`+original+`": "`+changed+`"}}`), 0o644))
	program := filepath.Join(dir, "kheaders")
	build := exec.Command("go", "build", "-overlay", overlay, "-o", program, "./harness/cmd/kheaders")
	build.Dir = w.repo
	if out, err := build.CombinedOutput(); err != nil {
		w.t.Fatalf("building kheaders with a jumping clock: %v\n%s", err, out)
	}
	return program
}
