#!/usr/bin/env python3
"""Tests of tidy.py: each fault in a small tree of its own, and sources that have none."""

import pathlib
import tempfile
import unittest

import tidy

BODY = "\n".join(f"    print({i})" for i in range(80))


class Tree(unittest.TestCase):
    def faults(self, **files):
        """RULE: LINE: MESSAGE of a tree with these files; their names have _ for / and a dot before the last part."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in files.items():
                *folders, stem, suffix = name.split("_")
                path = root.joinpath(*folders, f"{stem}.{suffix}")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return [f"{fault.rule}:{fault.line}: {fault.message}" for fault in tidy.check(root)]

    def expect(self, wanted, **files):
        found = self.faults(**files)
        self.assertEqual([f.split(" ")[0] for f in found], wanted, found)

    # Lengths

    def test_a_long_function_is_a_fault(self):
        self.expect(["length:2:"], Sources_A_a_swift="\nfunc f<T>(_ x: T, y: () -> Void = {}) {\n" + BODY + "\n}\nlet z: Void = f(1)\n_ = z")

    def test_an_initialiser_and_a_property_as_well(self):
        text = "extension Int {\n    init(_: Bool) {\n" + BODY + "\n    }\n    var v: Int {\n" + BODY + "\n    }\n}\nlet z = 1.v + z"
        self.expect(["length:2:", "length:84:"], Sources_A_a_swift=text)

    def test_seventy_lines_are_none(self):
        body = "\n".join(["    g()"] * 68)
        self.expect([], Sources_A_a_swift="func f() {\n" + body + "\n}\nfunc g() { f() ; g() }")
        self.expect(["length:1:"], Sources_A_a_swift="func f() {\n" + body + "\n\n}\nfunc g() { f() ; g() }")

    def test_braces_in_text_and_comments_do_not_count(self):
        body = "\n".join(['    f("{\\(f("}"))") // {'] * 10 + ["/* { /* { */ */"] + ['_ = #"\\("{"#'] + ['_ = """', " { \" ", '"""'])
        self.expect([], Sources_A_a_swift="func f(_ t: String) {\n" + body + "\n}\n" + "\n" * 80)

    def test_a_requirement_has_no_body(self):
        self.expect([], Sources_A_a_swift="protocol P {\n func f()\n}\nstruct S: P {" + "\n" * 80 + "func f() { S().f() } }")

    def test_a_reason_excuses(self):
        for text in [
            "// long: a table\nfunc f() {\n" + BODY + "\n}\n_ = f",
            "func f() {\n// long: a table\n" + BODY + "\n}\n_ = f",
            "// long: a table\n/// What it does.\n@inline(__always)\nfunc f() {\n" + BODY + "\n}\n_ = f",
        ]:
            self.expect([], Sources_A_a_swift=text)
        self.expect(["length:2:"], Sources_A_a_swift="// long:\nfunc f() {\n" + BODY + "\n}\n_ = f")

    def test_c_functions(self):
        body = "\n".join(["    x++;"] * 80)
        text = 'namespace n {\nstruct S { int a; };\nstatic int f(const S &s) noexcept {\n  if (s.a) {\n' + body + "\n  }\n}\n}\n"
        self.expect(["length:3:"], Sources_A_a_cpp=text)
        self.expect([], Sources_A_a_cpp="static const int t[] = {\n" + "1,\n" * 80 + "};\n")

    def test_a_long_file(self):
        self.expect(["length:1:"], Tests_A_a_swift="// x\n" * 451)
        self.expect([], Tests_A_a_swift="// x\n" * 450)
        self.expect([], Tests_A_a_swift="// long: every case\n" * 451)
        self.expect(["length:1:"], Tools_a_py="pass\n" * 451)

    def test_long_tests_are_none(self):
        self.expect([], Tests_A_a_swift="func f() {\n" + BODY + "\n}")

    # Unused

    def test_unused_declarations(self):
        for text in [
            "func nobody() {}", "struct Nobody {}", "enum Nobody {}", "protocol Nobody {}", "typealias Nobody = Int",
            "public let nobody = 1", "var nobody: Int { 1 }", 'private static let nobody = "nobody"',
            "/// nobody\nfunc nobody() {} // nobody", "func `nobody`() {}",
        ]:
            self.expect([f"unused:{text.count(chr(10)) + 1}:"], Sources_A_a_swift=text)

    def test_unused_cases(self):
        self.assertEqual(
            self.faults(Sources_A_a_swift="enum E {\n    case a, b(what: Int), c\n}\n_ = E.a"),
            ["unused:2: nothing names b", "unused:2: nothing names c"])

    def test_cases_over_lines(self):
        self.expect(["unused:3:"], Sources_A_a_swift="enum E {\n    case a,\n        c\n}\n_ = E.a")

    def test_patterns_are_no_declarations(self):
        self.expect([], Sources_A_a_swift="let a = 1\nswitch 1 {\ncase a: break\ncase let x where x > 1: break\ndefault: break\n}")

    def test_overloads_do_not_use_each_other(self):
        self.expect(["unused:1:", "unused:2:"], Sources_A_a_swift="func f(_: Int) {}\nfunc f(_: Bool) {}")

    def test_what_is_interpolated_is_used(self):
        self.expect([], Sources_A_a_swift='let a = 1\nprint("\\(a)", #"\\#(a)"#)')
        self.expect(["unused:1:"], Sources_A_a_swift='let a = 1\nprint("(a)", #"\\(a)"#)')

    def test_what_only_tests_name(self):
        self.expect(["unused:1:"], Sources_A_a_swift="func f() {}", Tests_A_a_swift="f()")
        self.expect([], Sources_A_a_swift="func f() {}  // for tests", Tests_A_a_swift="f()")
        self.expect([], Sources_A_a_swift="func f() {}", Sources_B_a_swift="f()")

    def test_marks_hold_inside_braces(self):
        text = "// for tests\npublic struct S {\n    func f() {\n    }\n}\nfunc g() {}"
        self.expect(["unused:6:"], Sources_A_a_swift=text, Tests_A_a_swift="S().f(); g()")

    def test_a_mark_for_tests_needs_tests(self):
        self.expect(["unused:1:"], Sources_A_a_swift="func f() {}  // for tests")
        self.expect([], Sources_A_a_swift="// used: by name\nfunc f() {}")

    def test_exceptions(self):
        self.expect([], Sources_A_a_swift='extension Int {\n var description: String { "" }\n func encode() {}\n}')
        self.expect([], Sources_A_a_swift="@main struct Program {}")
        self.expect([], Sources_A_a_swift="override func viewed() {}")
        self.expect([], Sources_A_a_swift="enum Kind: String {\n case one\n}\n_ = Kind(rawValue:)")
        self.expect(["unused:2:"], Sources_A_a_swift="enum Kind: Sendable {\n case one\n}\n_ = Kind(rawValue:)")

    def test_c_headers(self):
        header = "int used(int a);\nint unused_one(const char *, int (*f)(int));\nstatic inline int twice(int a) { return used(a); }\n"
        code = "int used(int a) { return a; }\nint unused_one(const char *t, int (*f)(int)) { return 1; }\n"
        self.expect(["unused:2:"], Sources_C_include_c_h=header, Sources_C_c_c=code)
        self.expect([], Sources_C_include_c_h=header, Sources_C_c_c=code, Sources_A_a_swift="_ = unused_one(nil, nil)")

    # Clocks and notes

    def test_clocks(self):
        for text in [
            "_ = Date()", "_ = Date.now", "_ = ContinuousClock.now", "_ = time(nil)", "_ = Int.random(in: 0...1)",
            "_ = [1].shuffled()", "_ = 1.hashValue", "_ = ProcessInfo.processInfo", "_ = rand()", "_ = SuspendingClock()",
            "var g = SystemRandomNumberGenerator()\n_ = g", "_ = arc4random_uniform(3)", "_ = clock_gettime",
        ]:
            self.expect(["clock:1:"], Sources_Engine_Model_a_swift=text)
            self.expect([], Sources_Runtime_a_swift=text)

    def test_what_is_no_clock(self):
        for text in [
            "// Date()", '_ = "Date()"', "_ = Clock.hour", "event.time(1)", "_ = x.time", "func hash(into hasher: inout Hasher) {}",
            "_ = grand(1)", "Random.next(1)",
        ]:
            self.expect([], Sources_Engine_a_swift=text)

    def test_notes(self):
        for word in ["TO" "DO", "FIX" "ME", "XX" "X"]:
            self.expect(["notes:1:"], Tests_A_a_swift=f"// {word}: later")
            self.expect(["notes:1:"], Tools_a_sh=f"# {word}: later")
            self.expect([], Tests_A_a_swift=f"// {word} #12: later")
            self.expect([], Tests_A_a_swift=f'_ = "{word}"')


if __name__ == "__main__":
    unittest.main()
