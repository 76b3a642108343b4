// SPDX-License-Identifier: BSD-3-Clause

//go:build commands

// This file keeps the packages of u-root's commands in go.mod. It is never
// built.

package initramfs

import (
	_ "github.com/u-root/mkuimage/cmd/mkuimage"
	_ "github.com/u-root/u-root/cmds/core/cat"
	_ "github.com/u-root/u-root/cmds/core/gosh"
	_ "github.com/u-root/u-root/cmds/core/init"
)
