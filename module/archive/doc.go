// SPDX-License-Identifier: BSD-3-Clause

// Package archive writes and reads the headers archive of a kernel.
//
// The archive is an xz-compressed tar of every *.h below include/ and
// arch/$SRCARCH/include/ in the source tree and the object tree; the object
// tree wins. It holds only regular files and directories, as ./include/...,
// sorted by name, owned by 0:0, with modes 0644 and 0755 and a single time
// stamp. Comments are removed unless they contain "SPDX". The same headers
// always give the same tar, regardless of their location, owners, modes and
// times.
//
// [Write] makes an archive, [Read] describes one, and [Extract] unpacks one,
// even a hostile one.
package archive

// Version changes whenever the same trees and options give different bytes. It
// belongs in the key of every cache of archives.
const Version = 3
