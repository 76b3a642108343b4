// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"io/fs"
	"os"
)

// rootFS is the whole file system, as os.DirFS("/") is, but its errors name
// files as the user knows them.
type rootFS struct{}

func (rootFS) path(name string) string {
	if name == "." {
		return "/"
	}
	return "/" + name
}

func (r rootFS) Open(name string) (fs.File, error)          { return os.Open(r.path(name)) }
func (r rootFS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(r.path(name)) }
func (r rootFS) Stat(name string) (fs.FileInfo, error)      { return os.Stat(r.path(name)) }
func (r rootFS) Lstat(name string) (fs.FileInfo, error)     { return os.Lstat(r.path(name)) }
func (r rootFS) ReadLink(name string) (string, error)       { return os.Readlink(r.path(name)) }
