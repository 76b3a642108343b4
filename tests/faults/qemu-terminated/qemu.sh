#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
(sleep 0.3; kill -TERM $$) &
exec "$QEMU" "$@"
