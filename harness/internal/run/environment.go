// SPDX-License-Identifier: BSD-3-Clause

package run

import (
	"os"
	"slices"
	"strings"
)

// KeepVariable names further variables for the programs that we start, with
// spaces between them. What they do to a result is in no cache key.
const KeepVariable = "KHEADERS_KEEP_ENV"

// passed are the variables of our environment that the programs we start may
// see. They say where things are and how to reach the network. Whatever else is
// set, make, compilers, kbuild, Go, tar, xz, dkms and QEMU would obey it, and
// the results would stay in the cache for those who have not set it.
var passed = []string{
	"PATH", "HOME", "USER", "LOGNAME", "TERM", "TMPDIR",
	"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR",
	"LD_LIBRARY_PATH", // a toolchain outside of the system may not start without

	"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "NETRC", "SSH_AUTH_SOCK",
	"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy",
	"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY",
	"APT_CONFIG", "DEBIAN_FRONTEND",

	// Where Go modules come from and are kept. GOENV is a file that says that
	// and more; whoever compiles must turn it off.
	"GOENV", "GOPATH", "GOMODCACHE", "GOCACHE", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOINSECURE", "GOVCS", "GOAUTH",

	"CCACHE_DIR", "CCACHE_CONFIGPATH", "CCACHE_TEMPDIR", "CCACHE_MAXSIZE", "CCACHE_DISABLE", "CCACHE_READONLY", "CCACHE_REMOTE_STORAGE",

	// The date in an archive, which is part of its key.
	"SOURCE_DATE_EPOCH", "KBUILD_BUILD_TIMESTAMP",
	KeepVariable,
}

// passes returns a function that tells whether a variable is passed on.
func passes() func(name string) bool {
	names := slices.Concat(passed, strings.Fields(os.Getenv(KeepVariable)))
	return func(name string) bool { return slices.Contains(names, name) }
}

// Environment returns the part of our environment that the programs we start
// may see.
func Environment() []string {
	keep := passes()
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return !keep(name)
	})
}

// Withheld returns the names of the other variables, for those who start a
// program in another way.
func Withheld() []string {
	keep := passes()
	var names []string
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); name != "" && !keep(name) {
			names = append(names, name)
		}
	}
	return names
}
