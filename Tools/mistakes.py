#!/usr/bin/env python3
"""Prints the table of `make mistakes` from the rows that its tests wrote. Exit code 1 when one is not all right.

usage: Tools/mistakes.py FOLDER
"""
import json
import pathlib
import re
import sys


def order(row):
    number, rest = re.fullmatch(r"(\d+)(.*)", row["id"]).groups()
    return int(number), rest


def main():
    if len(sys.argv) != 2:
        print(__doc__.strip().splitlines()[-1], file=sys.stderr)
        return 64
    path = pathlib.Path(sys.argv[1]) / "rows.jsonl"
    if not path.exists():
        print(f"mistakes: {path} is not there: no test ran. Are the variables set?", file=sys.stderr)
        return 1
    rows = sorted((json.loads(line) for line in path.read_text().splitlines()), key=order)
    for row in rows:
        counts = "/".join("-" if row.get(k) is None else str(row[k]) for k in ("missing", "double", "strange"))
        print(f"{'NOT' if row['faults'] else 'ok '} {row['id']:<10} {row['mistake']}")
        print(f"      {counts} missing/double/strange, {row['seconds']:.0f} s; {', '.join(row['did']) or 'nothing'}")
        if row["line"]:
            print(f"      | {row['line']}")
        for fault in row["faults"]:
            print(f"      ! {fault}")
    for log in sorted(path.parent.glob("*.txt")):
        for line in log.read_text(errors="replace").splitlines():
            if " skipped: " in line:
                print(f"--- {line.lstrip('➜ ').strip()}")
    good = sum(not row["faults"] for row in rows)
    print(f"\n{good} of {len(rows)} mistakes end as they should, in {sum(row['seconds'] for row in rows):.0f} s of work")
    return 0 if good == len(rows) else 1


sys.exit(main())
