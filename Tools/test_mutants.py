#!/usr/bin/env python3
"""Tests of mutants.py: nothing that a mutant's test has started survives it."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import mutants

FOLDER = pathlib.Path(__file__).resolve().parent
# As `swift test` does: a process with an endless loop, in a process group of its own, that says which it is.
ENDLESS = "set -m; bash -c 'echo $$ >pid; while :; do :; done' & while [ ! -s pid ]; do sleep 0.01; done;"


def survives(process):
    """Whether a process runs; one that has ended may not have been waited for."""
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Processes(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def child(self):
        process = int((self.folder / "pid").read_text())
        self.addCleanup(lambda: survives(process) and os.kill(process, signal.SIGKILL))
        return process

    def test_an_endless_loop_ends_at_its_limit(self):
        code, _ = mutants.run(["bash", "-c", ENDLESS + "wait"], self.folder, limit=1)
        self.assertIsNone(code)
        self.assertFalse(survives(self.child()))

    def test_nothing_survives_a_command_that_ends(self):
        code, output = mutants.run(["bash", "-c", f"({ENDLESS}) >/dev/null 2>&1; echo ok"], self.folder, limit=20)
        self.assertEqual((code, output), (0, "ok\n"))
        self.assertFalse(survives(self.child()))

    def test_nothing_survives_a_runner_that_is_told_to_end(self):
        script = (
            "import mutants, signal, sys, threading\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\n"
            "command = ['bash', '-c', sys.argv[1]]\n"
            "threading.Thread(target=mutants.run, args=(command, sys.argv[2], 60), daemon=True).start()\n"
            "try: signal.pause()\n"
            "finally: mutants.end_all()\n")
        runner = subprocess.Popen([sys.executable, "-c", script, ENDLESS + "wait", self.folder], cwd=FOLDER)
        deadline = time.monotonic() + 20
        while not ((self.folder / "pid").exists() and (self.folder / "pid").read_text()):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        self.assertTrue(survives(self.child()))
        runner.terminate()
        runner.wait(20)
        self.assertFalse(survives(self.child()))


if __name__ == "__main__":
    unittest.main()
