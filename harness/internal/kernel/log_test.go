// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
)

// failedLogs are logs of failed builds, with the cause and advice expected for
// each.
var failedLogs = []struct {
	name, log, cause, advice string
}{
	{
		name: "compiler",
		log: `+ make -C src 'a: error: b'
  CC      kernel/fork.o
../kernel/fork.c: In function 'fork':
../kernel/fork.c:12:7: error: 'x' undeclared (first use in this function)
   12 |   x = 1;
../kernel/fork.c:13:1: error: second
make[3]: *** [../scripts/Makefile.build:229: kernel/fork.o] Error 1
make[2]: *** [../scripts/Makefile.build:478: kernel] Error 2
`,
		cause: "../kernel/fork.c:12:7: error: 'x' undeclared (first use in this function)",
	},
	{
		name: "warnings do not count",
		log: `warning: -Werror: no error here
make[1]: *** [Makefile:1: all] Error 1
`,
		cause: "make[1]: *** [Makefile:1: all] Error 1",
	},
	{
		name: "libelf",
		log: `In file included from main.c:1:
/src/tools/objtool/include/objtool/elf.h:10:10: fatal error: gelf.h: No such file or directory
compilation terminated.
`,
		cause:  "/src/tools/objtool/include/objtool/elf.h:10:10: fatal error: gelf.h: No such file or directory",
		advice: "libelf-dev",
	},
	{
		name:  "linker",
		log:   "ld: init/main.o: in function `start':\nmain.c:(.text+0x1): undefined reference to `toy'\nmake: *** [vmlinux] Error 1\n",
		cause: "main.c:(.text+0x1): undefined reference to `toy'",
	},
	{
		name:  "modpost",
		log:   "ERROR: modpost: \"toy\" [drivers/toy.ko] undefined!\nmake: *** [modpost] Error 1\n",
		cause: `ERROR: modpost: "toy" [drivers/toy.ko] undefined!`,
	},
	{
		name:  "missing program",
		log:   "/bin/sh: 1: bc: not found\nmake[1]: *** [Kbuild:24: timeconst.h] Error 127\n",
		cause: "/bin/sh: 1: bc: not found",
	},
	{
		name:   "disk full comes before what follows from it",
		log:    "a.c:1:1: error: unexpected end\n/tmp/x.s: fatal error: can't write: No space left on device\n",
		cause:  "/tmp/x.s: fatal error: can't write: No space left on device",
		advice: causeUnknown,
	},
	{
		name:  "kbuild's own complaint",
		log:   "***\n*** The source tree is not clean, please run 'make mrproper'\n*** in /src\nmake: *** [Makefile:1: all] Error 1\n",
		cause: "*** The source tree is not clean, please run 'make mrproper'",
	},
	{name: "nothing to go by", log: "  CC      a.o\n", advice: causeUnknown},
	{name: "silence", advice: causeUnknown},
	{
		name:  "a line without end",
		log:   strings.Repeat("x", 1<<20) + "\na.c:1:1: error: " + strings.Repeat("y", 1<<20) + "\n",
		cause: ("a.c:1:1: error: " + strings.Repeat("y", 1<<20))[:maxLogLine],
	},
}

func TestBuildError(t *testing.T) {
	for _, c := range failedLogs {
		t.Run(c.name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log")
			const before = "old.c:1:1: error: of an earlier run\n"
			if err := os.WriteFile(log, []byte(before+c.log), 0o644); err != nil {
				t.Fatal(err)
			}
			failure := &run.Error{Argv: []string{"make"}, Err: errors.New("exit status 2")}
			err := buildError(failure, log, int64(len(before)), strings.TrimSpace)
			e, ok := errors.AsType[*BuildError](err)
			if !ok {
				t.Fatalf("the error is %v", err)
			}
			if e.Cause != c.cause || e.Log != log || len(e.Lines) > causeLines {
				t.Errorf("the cause is %q in %q, with %d lines", e.Cause, e.Log, len(e.Lines))
			}
			if !strings.Contains(hint.Of(err), c.advice) {
				t.Errorf("the hint is %q", hint.Of(err))
			}
			if strings.Contains(err.Error(), "\n") || !errors.Is(err, failure) {
				t.Errorf("the error is %q", err)
			}
		})
	}
}
