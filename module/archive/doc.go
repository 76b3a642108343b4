// SPDX-License-Identifier: BSD-3-Clause

// Package archive makes the headers archive of a kernel, and reads one back.
//
// The archive is an xz-compressed tar of every *.h below include/ and
// arch/$SRCARCH/include/, from the source tree and, over it, the object tree.
// It holds regular files and directories only, as ./include/..., sorted by
// name, owned by 0:0, with modes 0644 and 0755 and one time stamp. Comments
// are removed unless they hold "SPDX". The same headers always give the same
// tar, whatever their owners, modes, times and the place where they lie.
//
// [Write] makes one; [Read] tells what is in one; [Extract] unpacks one that
// may be hostile.
package archive

// Version changes whenever the same trees and options give other bytes. It
// belongs into the key of every cache that holds archives.
const Version = 2
