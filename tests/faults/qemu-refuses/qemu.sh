#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
echo "qemu: warning: nothing of importance" >&2
echo "qemu: no such machine" >&2
exit 1
