#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# conf.sh CONFIG [LOST...]: a toy olddefconfig. It accepts every symbol except
# the lost ones, and like kconfig warns about one that is set twice.
set -eu
config=$1
shift
awk -v lost="$*" '
BEGIN {
	n = split(lost, names, " ")
	for (i = 1; i <= n; i++)
		drop["CONFIG_" names[i]] = 1
}
/^CONFIG_[A-Za-z0-9_]+=/ { split($0, part, "="); symbol = part[1] }
/^# CONFIG_[A-Za-z0-9_]+ is not set$/ { symbol = $2 }
symbol == "" { next }
{
	if (symbol in seen)
		print FILENAME ":" NR ":warning: override: reassigning to symbol " substr(symbol, 8) > "/dev/stderr"
	seen[symbol] = 1
	if (!(symbol in drop))
		print
	symbol = ""
}' "$config" > "$config.new"
mv "$config.new" "$config"
