#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
(sleep 0.1; kill -STOP $$) &
exec "$QEMU" "$@"
