// SPDX-License-Identifier: BSD-3-Clause

package kernel_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/target"
)

// fakeImage puts a fake apt and dpkg-deb into PATH that know one kernel,
// 6.99.1, for any architecture.
func fakeImage(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	script(t, dir, "apt-cache", `
for name; do :; done
case $name in
linux-headers-cloud-*) echo "Depends: linux-headers-6.99-1-cloud" ;;
linux-headers-6.99-1-cloud*) echo "Depends: linux-headers-6.99-1-common, linux-kbuild-6.99" ;;
linux-image-*) ;;
*) exit 100 ;;
esac
echo "Version: 6.99.1-2"`)
	script(t, dir, "apt-get", `for word; do case $word in linux-*) echo "${word%:*}" > "${word%:*}_1_all.deb" ;; esac; done`)
	script(t, dir, "dpkg-deb", `
set -e
read -r package < "$2"
cd "$3"
case $package in
linux-image-*)
	mkdir -p boot lib/modules/6.99-1-cloud
	echo > boot/vmlinuz-6.99-1-cloud; echo > boot/config-6.99-1-cloud; echo > lib/modules/6.99-1-cloud/modules.builtin ;;
*-common)
	mkdir -p usr/src/$package
	printf 'VERSION = 6\nPATCHLEVEL = 99\nSUBLEVEL = 1\n' > usr/src/$package/Makefile ;;
linux-headers-*)
	mkdir -p usr/src/$package/include/config usr/src/$package/include/generated usr/src/$package/scripts/mod
	cd usr/src/$package
	echo 'include /usr/src/linux-headers-6.99-1-common/Makefile' > Makefile
	for file in Module.symvers include/config/auto.conf include/generated/autoconf.h scripts/mod/modpost; do echo > $file; done ;;
esac`)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestFetchImage(t *testing.T) {
	fakeImage(t)
	store := cache.Store{Dir: t.TempDir()}
	for _, how := range []string{"fetched", "from the cache"} {
		source, err := kernel.Fetch(t.Context(), store, parse(t, "debian-image:6.99"), nil, first, second)
		if err != nil {
			t.Fatal(err)
		}
		dirs := map[string]bool{}
		for _, a := range []target.Target{first, second} {
			k, err := kernel.Build(t.Context(), store, source, kernel.BuildOptions{Target: a})
			if err != nil {
				t.Fatal(err)
			}
			if k.How != how || k.Cached != (how == "from the cache") || k.Release != "6.99-1-cloud" || k.Version != "6.99.1" || k.Log != "" {
				t.Errorf("the kernel is %+v", k)
			}
			dirs[k.Dir] = true
			if text := read(t, filepath.Join(k.Dir, "Makefile")); text != "include "+k.SourceDir+"/Makefile\n" {
				t.Errorf("the makefile is %q", text)
			}
		}
		if len(dirs) != 2 {
			t.Errorf("two architectures share %v", dirs)
		}
	}
	source, err := kernel.Fetch(t.Context(), store, parse(t, "debian-image:6.99"), nil, first)
	if err != nil {
		t.Fatal(err)
	}
	if k, err := kernel.Build(t.Context(), store, source, kernel.BuildOptions{Target: second}); err == nil || !strings.Contains(err.Error(), "not fetched for "+second.Name) {
		t.Errorf("for another architecture it is %+v, %v", k, err)
	}
}
