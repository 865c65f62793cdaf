#!/usr/bin/env python3
"""Plants the bugs of Tests/Mutants one by one and sees whether the test that each one names fails.

A mutant is a file NAME.patch: header lines, then a unified diff against this tree.

  # What: the window of seven days loses its last day
  # Test: EngineTests.Panes                (a filter of `swift test`; begins with the test target)
  # Faults: --seeds 20                     (instead of a test: arguments for the fault simulator)

Each worker has a copy of the tree and a build of its own in .build-mutants. A mutant is caught when its test fails,
crashes or does not end in time; missed when the test passes; an error when its patch does not apply, it does not
compile, or its test fails without it. Exit codes: 0; 1 when there was an error or more than 5 % are missed; 2 arguments.
"""

import argparse
import contextlib
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

MISSED_SHARE = 0.05
BUILD_LIMIT_S = 1200
FOLDERS = ["Sources", "Tests"]
FILES = ["Package.swift", "Package.resolved"]
BUILD_FLAGS = ["-debug-info-format", "none", "--quiet"]  # tests are found by way of the index: it stays
LINES_OF_AN_ERROR = 6

# Commands that run: each has a session, whose id is that of its first process.
SESSIONS = set()
SESSIONS_LOCK = threading.Lock()


class Failure(Exception):
    """Something other than a test of a mutant failed."""


class Mutant:
    def __init__(self, path):
        self.name = path.stem
        self.path = path.resolve()
        text = path.read_text()
        header = dict(re.findall(r"^# (\w+): *(.+?) *$", text.split("\n--- ")[0], re.MULTILINE))
        self.what = header.get("What")
        self.filter = header.get("Test")
        self.faults = header.get("Faults")
        self.files = re.findall(r"^\+\+\+ b/(\S+)", text, re.MULTILINE)
        if not self.what or (self.filter is None) == (self.faults is None) or not self.files:
            raise Failure(f"{path} needs the lines `# What:` and either `# Test:` or `# Faults:`, and a diff")
        target = re.match(r"\^?(\w+Tests)\b", self.filter or "")
        if self.filter and not target:
            raise Failure(f"{path}: the filter must begin with a test target, as EngineTests")
        self.target = target.group(1) if target else "faults"
        self.outcome, self.detail, self.seconds = None, "", 0.0


def processes_of(session):
    """Ids of the processes of a session; those that have ended and not been waited for are none."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = pathlib.Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append(int(entry))
    return found


def end(session):
    """Kills all processes of a session. `swift test` gives its children process groups of their own, not sessions."""
    while found := processes_of(session):
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.01)


def end_all():
    """Kills what runs before this process ends. It keeps the lock: no worker starts anything more."""
    SESSIONS_LOCK.acquire()
    for session in SESSIONS:
        end(session)


def run(command, folder, limit, environment=None):
    """Exit code and output of a command; None as code when it took longer than `limit` seconds. Nothing that it has
    started survives."""
    with SESSIONS_LOCK:
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            text=True, errors="replace", start_new_session=True, env={**os.environ, **(environment or {})})
        SESSIONS.add(process.pid)
    try:
        output, _ = process.communicate(timeout=limit)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        end(process.pid)
        output, _ = process.communicate()
        return None, output
    finally:
        end(process.pid)
        with SESSIONS_LOCK:
            SESSIONS.remove(process.pid)


def tail(output):
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line]
    return "\n".join("    " + line[:200] for line in (errors or lines)[-LINES_OF_AN_ERROR:])


def copy_changed(source, target):
    """Makes `target` like `source`; files that are the same keep their time, so that they are not built again."""
    if source.is_file():
        if not target.exists() or source.read_bytes() != target.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            shutil.copymode(source, target)
        return
    target.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in source.iterdir() if not path.name.startswith(".build")}
    for extra in [path for path in target.iterdir() if path.name not in names]:
        shutil.rmtree(extra) if extra.is_dir() else extra.unlink()
    for name in names:
        copy_changed(source / name, target / name)


def package_of(text, target):
    """Package.swift with only `target` and what it depends on: less to build and to link."""
    blocks = {}
    for start in re.finditer(r"\.(?:target|executableTarget|testTarget)\(\s*name: \"(\w+)\"", text):
        depth, end = 0, start.start()
        while True:
            depth += (text[end] == "(") - (text[end] == ")")
            end += 1
            if depth == 0 and text[end - 1] == ")":
                break
        block = text[start.start() : end]
        own = re.search(r"dependencies: \[(.*?)\]\s*[,)]", block, re.DOTALL)
        names = re.sub(r"\.product\(.*?\)", "", own.group(1)) if own else ""
        blocks[start.group(1)] = (start.start(), end, re.findall(r'"(\w+)"', names))
    if target not in blocks:
        raise Failure(f"Package.swift has no target {target}")
    needed, open_ = set(), [target]
    while open_:
        name = open_.pop()
        if name in blocks and name not in needed:
            needed.add(name)
            open_ += blocks[name][2]
    for name, (start, end, _) in sorted(blocks.items(), key=lambda item: -item[1][0]):
        if name not in needed:
            end += re.match(r",?", text[end:]).end()
            text = text[:start] + text[end:]
    if "clvd" not in needed:
        text = re.sub(r'\.executable\(name: "clvd", targets: \["clvd"\]\)', "", text)
    return text


class Worker:
    """A copy of the tree, and its build."""

    def __init__(self, root, number, limit):
        self.root, self.limit = root, limit
        self.tree = root / ".build-mutants" / f"worker{number}"
        self.target = None
        self.package = (root / "Package.swift").read_text()
        for name in FOLDERS + FILES:
            if name != "Package.swift" and (root / name).exists():
                copy_changed(root / name, self.tree / name)

    def apply(self, mutant, *flags):
        """None, or why the patch does not apply."""
        code, output = run(
            ["git", "apply", *flags, str(mutant.path)], self.tree, self.limit,
            {"GIT_CEILING_DIRECTORIES": str(self.tree.parent)})
        return None if code == 0 else tail(output) or f"    git apply: exit code {code}"

    def revert(self, mutant):
        for name in mutant.files:
            copy_changed(self.root / name, self.tree / name)

    def build(self):
        """None, or why it does not compile."""
        what = ["--product", "faults"] if self.target == "faults" else ["--build-tests"]
        code, output = run(["swift", "build", *BUILD_FLAGS, *what], self.tree, BUILD_LIMIT_S)
        return None if code == 0 else tail(output)

    def test(self, filters):
        return run(
            ["swift", "test", "--skip-build", "--disable-xctest", "--filter", filters],
            self.tree, self.limit)

    def prepare(self, target, mutants):
        """Builds the tests of a target without a mutant; the tests that mutants name must exist and pass."""
        self.target = target
        package = package_of(self.package, target)
        path = self.tree / "Package.swift"
        if not path.exists() or path.read_text() != package:
            path.write_text(package)
        if problem := self.build():
            raise Failure(f"the tree does not build:\n{problem}")
        if target == "faults":
            for arguments in sorted({mutant.faults for mutant in mutants}):
                code, output = self.simulate(arguments)
                if code != 0:
                    raise Failure(f"the simulator fails without a mutant ({arguments}):\n{tail(output)}")
            return
        code, names = run(["swift", "test", "list", "--skip-build", "--disable-xctest"], self.tree, self.limit)
        for mutant in mutants:
            if code == 0 and not any(re.search(mutant.filter, name) for name in names.splitlines()):
                raise Failure(f"{mutant.name}: no test is called {mutant.filter}")
        code, output = self.test("|".join(sorted({f"(?:{mutant.filter})" for mutant in mutants})))
        if code != 0:
            raise Failure(f"tests of {target} fail without a mutant:\n{tail(output)}")

    def simulate(self, arguments):
        return run([".build/debug/faults", *arguments.split()], self.tree, self.limit)

    def decide(self, mutant):
        """Sets the outcome of a mutant."""
        if problem := self.apply(mutant):
            mutant.outcome, mutant.detail = "error", f"    the patch does not apply:\n{problem}"
            return
        try:
            if problem := self.build():
                mutant.outcome, mutant.detail = "error", f"    it does not compile:\n{problem}"
                return
            code, output = self.simulate(mutant.faults) if mutant.faults else self.test(mutant.filter)
            mutant.outcome = "missed" if code == 0 else "caught"
            mutant.detail = "    the test did not end in time" if code is None else ""
        finally:
            self.revert(mutant)


def work(worker, mutants, done):
    """Decides about a worker's mutants, those of one test target after the other."""
    for target in dict.fromkeys(mutant.target for mutant in mutants):
        own = [mutant for mutant in mutants if mutant.target == target]
        try:
            worker.prepare(target, own)
        except Failure as failure:
            for i, mutant in enumerate(own):
                mutant.outcome, mutant.detail = "error", f"    {failure}" if i == 0 else "    as above"
                done.put(mutant)
            continue
        for mutant in own:
            begin = time.monotonic()
            worker.decide(mutant)
            mutant.seconds = time.monotonic() - begin
            done.put(mutant)


def decide_all(mutants, workers, quiet):
    """Has the workers decide and prints how it goes."""
    done = queue.Queue()
    ordered = sorted(mutants, key=lambda mutant: (mutant.target, mutant.name))
    threads = []
    for i, worker in enumerate(workers):
        threads.append(threading.Thread(target=work, args=(worker, ordered[i :: len(workers)], done), daemon=True))
        threads[-1].start()
    count = 0
    while count < len(mutants):
        try:
            mutant = done.get(timeout=1)
        except queue.Empty:
            if not any(thread.is_alive() for thread in threads) and done.empty():
                raise Failure("a worker ended too early; see the messages above")
            continue
        count += 1
        if not quiet:
            print(f"[{count}/{len(mutants)}] {mutant.outcome}  {mutant.name}  {mutant.seconds:.0f} s", flush=True)
            if mutant.detail:
                print(mutant.detail, flush=True)


def report(mutants, seconds, as_json):
    counts = {outcome: sum(m.outcome == outcome for m in mutants) for outcome in ("caught", "missed", "error")}
    if as_json:
        keys = ("name", "what", "filter", "faults", "outcome", "detail", "seconds")
        print(json.dumps({**counts, "mutants": [{key: getattr(m, key) for key in keys} for m in mutants]}, indent=2))
    else:
        for mutant in mutants:
            if mutant.outcome != "caught":
                print(f"{mutant.outcome:7} {mutant.name}: {mutant.what} ({mutant.filter or mutant.faults})")
        print(
            f"{counts['caught']} of {len(mutants)} caught, {counts['missed']} missed, {counts['error']} errors, "
            f"{seconds / 60:.1f} minutes")
    return 1 if counts["error"] or counts["missed"] > MISSED_SHARE * len(mutants) else 0


def listed(mutants, worker):
    """Prints every mutant; 1 when a patch does not apply."""
    failed = 0
    for mutant in mutants:
        problem = worker.apply(mutant, "--check")
        print(f"{mutant.name}: {mutant.what} ({mutant.filter or 'faults ' + mutant.faults})")
        if problem:
            print(f"    the patch does not apply:\n{problem}")
            failed = 1
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only this one; may be repeated")
    parser.add_argument("--list", action="store_true", help="list the mutants and see that each patch applies")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    parser.add_argument("--workers", type=int, default=2, help="builds side by side (default: 2)")
    parser.add_argument("--limit", type=int, default=180, metavar="SECONDS", help="for one test (default: 180)")
    arguments = parser.parse_args()
    root = pathlib.Path(__file__).resolve().parent.parent
    begin = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        mutants = [Mutant(path) for path in sorted((root / "Tests" / "Mutants").glob("*.patch"))]
        if unknown := set(arguments.only) - {mutant.name for mutant in mutants}:
            parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
        mutants = [mutant for mutant in mutants if not arguments.only or mutant.name in arguments.only]
        if not mutants or arguments.workers < 1 or arguments.limit < 1:
            parser.error("there is nothing to do")
        if arguments.list:
            return listed(mutants, Worker(root, 1, arguments.limit))
        count = min(arguments.workers, len(mutants))
        workers = [Worker(root, i + 1, arguments.limit) for i in range(count)]
        decide_all(mutants, workers, arguments.json)
    except Failure as failure:
        print(f"mutants: {failure}", file=sys.stderr)
        return 1
    finally:
        end_all()
    return report(mutants, time.monotonic() - begin, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
