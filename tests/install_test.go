// SPDX-License-Identifier: BSD-3-Clause

package tests

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/rig"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
)

// installFlag makes TestGoInstall run.
var installFlag = flag.Bool("install", false, "install this commit with go install, and everything that it needs from nothing")

// TestGoInstall installs the last commit from a module proxy, with an empty home,
// and tests a kernel in a directory that has nothing to do with our sources.
func TestGoInstall(t *testing.T) {
	if !*installFlag {
		t.Skip("it fetches and compiles everything anew: run it with -args -install")
	}
	repo, err := rig.Repo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const version = "v0.0.1"
	proxy, home, elsewhere := t.TempDir(), t.TempDir(), t.TempDir()
	served := filepath.Join(proxy, rig.Module, "@v")
	if err := os.MkdirAll(served, 0o755); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(repo, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"list": version + "\n", version + ".mod": string(mod), version + ".info": `{"Version": "` + version + `"}`,
	} {
		if err := os.WriteFile(filepath.Join(served, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := makeOutput(t, "git", "-C", repo, "archive", "--format=zip", "--prefix="+rig.Module+"@"+version+"/", "--output="+filepath.Join(served, version+".zip"), "HEAD"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	upstream, err := exec.Command("go", "env", "GOPROXY").Output()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{
		"HOME=" + home, "PATH=" + os.Getenv("PATH"), "GONOSUMDB=" + rig.Module, "GOFLAGS=-modcacherw",
		"GOPROXY=file://" + proxy + "," + strings.TrimSpace(string(upstream)),
	}
	command := func(argv ...string) (string, error) {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir, cmd.Env = elsewhere, env
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := command("go", "install", rig.Module+"/harness/cmd/kheaders@"+version); err != nil {
		t.Fatalf("%v; it printed:\n%s", err, out)
	}
	out, err := command(filepath.Join(home, "go/bin/kheaders"), "test", "--kernel", "debian-image:6.1", "--arch", target.All()[0].Name)
	from := "its programs are compiled from " + filepath.Join(home, "go/pkg/mod", rig.Module) + "@" + version
	if result := finish(t, filepath.Join(elsewhere, "out/qemu-test"), out, err); result.code != 0 || result.run.Cells[0].Verdict != verdict.Pass || !strings.Contains(out, from) {
		t.Errorf("exit code %d, want 0, and %q; it printed:\n%s", result.code, from, out)
	}
}
