#!/usr/bin/env python3
"""Prints the lines that tests reach, a row for each folder in Sources: coverage.py SUMMARY, a file of llvm-cov export."""

import json
import pathlib
import sys
from collections import defaultdict


def rows(files, root):
    """Name, lines, lines reached, functions, functions reached of each folder; Engine by its own folders."""
    sums = defaultdict(lambda: [0, 0, 0, 0])
    for file in files:
        try:
            parts = pathlib.Path(file["filename"]).relative_to(root / "Sources").parts
        except ValueError:
            continue
        name = "/".join(parts[:2]) if len(parts) > 2 and parts[1] != "include" else parts[0]
        summary = file["summary"]
        for i, (what, key) in enumerate(
                [("lines", "count"), ("lines", "covered"), ("functions", "count"), ("functions", "covered")]):
            sums[name][i] += summary[what][key]
    total = [sum(column) for column in zip(*sums.values())]
    return [(name, *sums[name]) for name in sorted(sums)] + [("all", *total)] if sums else []


def main():
    if len(sys.argv) != 2 or sys.argv[1] == "--help":
        print(__doc__)
        return 0 if sys.argv[1:] == ["--help"] else 2
    with open(sys.argv[1]) as file:
        files = json.load(file)["data"][0]["files"]
    table = rows(files, pathlib.Path.cwd())
    if not table:
        print("coverage: the profile has no file of Sources", file=sys.stderr)
        return 1
    print(f"{'Sources/':28}{'lines':>8}{'reached':>9}{'':>7}{'functions':>11}{'reached':>9}")
    for name, lines, reached, functions, called in table:
        share = 100 * reached / lines if lines else 100
        print(f"{name:28}{lines:8}{reached:9}{share:6.1f}%{functions:11}{called:9}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
