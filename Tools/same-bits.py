#!/usr/bin/env python3
"""The data of same-bits.sh, and the comparison.

  same-bits.py landmarks EVENTS FILE        asks about every user of a simulated stream at days of their own
  same-bits.py replay EVENTS FILE RECORDS   the first RECORDS rows, among them rows that are no events
  same-bits.py compare BASE NOW             compares two folders file by file and prints a line for each

Exit codes: 0; 1 when a file differs or is missing; 2 arguments.
"""

import csv
import gzip
import itertools
import pathlib
import struct
import sys

DAY_MS = 86_400_000
LANDMARKS_PER_USER = 6
BETWEEN_MS = 21 * DAY_MS
BAD_EVERY = 200
NULL = 0xFFFF_FFFF
SHOWN = 300


def landmarks(events, path):
    first = {}
    last = 0
    with open(events, newline="") as file:
        for row in csv.DictReader(file):
            time = int(row["event_time_ms"])
            first.setdefault(row["user_id"], time)
            last = max(last, time)
    with open(path, "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["landmark_id", "user_id", "time_ms", "horizons"])
        number = 0
        for user, begin in first.items():
            for i in range(LANDMARKS_PER_USER):
                # At the very millisecond of the first event, and later at any time of day.
                time = begin + i * BETWEEN_MS + i * 7_919_333
                if time < last:
                    out.writerow([number, user, time, "30|90" if number % 3 else "30"])
                    number += 1


def replay(events, path, records):
    damage = [
        lambda row: row.update(event_time_ms="soon"),
        lambda row: row.update(user_id=""),
        lambda row: row.update(event_type="nonsense"),
        lambda row: row.update(event_type="purchase", amount="1e400"),
        lambda row: row.update(event_time_ms="1"),
        lambda row: row.update(event_type="purchase", amount="twelve"),
        lambda row: row.update(event_id="x" * 600),
    ]
    kinds = itertools.cycle(damage)
    with open(events, newline="") as file, open(path, "w", newline="") as target:
        reader = csv.DictReader(file)
        out = csv.DictWriter(target, reader.fieldnames, lineterminator="\n")
        out.writeheader()
        for number, row in enumerate(itertools.islice(reader, int(records))):
            if number % BAD_EVERY == BAD_EVERY - 1:
                next(kinds)(row)
            out.writerow(row)
            if number % BAD_EVERY == BAD_EVERY // 2:
                out.writerow(row)  # a duplicate


def records_of(path):
    """The records of a file, as bytes."""
    data = path.read_bytes()
    if path.suffix != ".records":
        return (gzip.decompress(data) if path.suffix == ".gz" else data).split(b"\n")
    at = 0

    def count():
        nonlocal at
        at += 4
        return struct.unpack_from("=I", data, at - 4)[0]

    def item():
        nonlocal at
        length = count()
        if length == NULL:
            return b"null"
        at += length
        return data[at - length : at]

    records = []
    while at < len(data):
        parts = [item(), item()]
        for _ in range(count()):
            parts.append(item() + b"=" + item())
        records.append(b" ".join(parts))
    return records


def shown(record, at):
    """A record around the byte that differs."""
    start = max(0, at - SHOWN // 3)
    text = record[start : start + SHOWN].decode("utf-8", "replace")
    return ("…" if start else "") + text + ("…" if start + SHOWN < len(record) else "")


def compare_files(name, base, now):
    """Prints a line and, for a difference, the first records that differ.
    Returns: whether the bytes are the same."""
    if base.exists() != now.exists():
        print(f"differs  {name}: only {'the base' if base.exists() else 'this tree'} has written it")
        return False
    first, second = records_of(base), records_of(now)
    if base.read_bytes() == now.read_bytes():
        print(f"same     {name}: {len(first) - (base.suffix != '.records')} records")
        return True
    for i, (one, other) in enumerate(itertools.zip_longest(first, second)):
        if one == other:
            continue
        one_bytes, other_bytes = one or b"", other or b""
        at = next(
            (k for k, (a, b) in enumerate(zip(one_bytes, other_bytes)) if a != b),
            min(len(one_bytes), len(other_bytes)))
        print(f"differs  {name}: record {i} of {len(first)} and {len(second)}, byte {at}")
        print(f"    base: {shown(one, at) if one is not None else 'no record'}")
        print(f"    now:  {shown(other, at) if other is not None else 'no record'}")
        return False
    print(f"differs  {name}: the same records, packed in other bytes")
    return False


def compare(base, now):
    base, now = pathlib.Path(base), pathlib.Path(now)
    names = sorted({path.name for folder in (base, now) for path in folder.iterdir()})
    if not names:
        sys.exit("same-bits: nothing to compare")
    return 0 if all([compare_files(name, base / name, now / name) for name in names]) else 1


def main():
    commands = {"landmarks": (landmarks, 2), "replay": (replay, 3), "compare": (compare, 2)}
    arguments = sys.argv[1:]
    if arguments == ["--help"]:
        print(__doc__)
        return 0
    if not arguments or arguments[0] not in commands or len(arguments) - 1 != commands[arguments[0]][1]:
        print(__doc__, file=sys.stderr)
        return 2
    return commands[arguments[0]][0](*arguments[1:]) or 0


if __name__ == "__main__":
    sys.exit(main())
