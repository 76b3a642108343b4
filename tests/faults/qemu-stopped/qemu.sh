#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
(sleep 1.2; kill -STOP $$) &
exec "$QEMU" "$@"
