#!/bin/bash
# Writes the table of settings that a program prints between the markers of a page: settings-table.sh CLVD PAGE
set -euo pipefail
table="$(mktemp)"
trap 'rm -f "$table"' EXIT
"$1" config print --table >"$table"
sed -i -e '/^<!-- settings:begin -->$/,/^<!-- settings:end -->$/{//!d}' -e "/^<!-- settings:begin -->\$/r $table" "$2"
