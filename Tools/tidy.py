#!/usr/bin/env python3
"""Checks what the compiler and the formatter do not.

  length   no function of Sources over 70 lines, no file of Sources, Tests, Fuzz and Tools over 450.
           Escape: a comment `long: <reason>`, inside or directly above a function; in the first ten lines of a file.
  unused   every Swift declaration of Sources is named somewhere else in Sources, and somebody calls every C function
           of its headers. Escapes: `// used: <reason>`; `// for tests` where only Tests or Fuzz name it. They stand
           on the line or in the comment above, and hold for all that is inside the braces that open there.
  clock    no clock, process environment or randomness in Sources/Engine. Escape: none.
  notes    no note of work to be done without the number of an issue (#12).

Prints FILE:LINE: RULE: MESSAGE for each fault. Exit codes: 0 none, 1 some, 2 arguments.
"""

import argparse
import pathlib
import re
import sys
from collections import Counter, defaultdict

from sources import C_FAMILY, SCRIPTS, SWIFT, Source, blank, end_of_braces

MOST_FUNCTION_LINES = 70
MOST_FILE_LINES = 450

FOLDERS = ["Sources", "Tests", "Fuzz", "Tools"]

# Named by the language, its library or a package that calls them: witnesses of protocols from elsewhere.
WITNESSES = {
    "CodingKeys", "body", "commandName", "configuration", "debugDescription", "description", "encode", "errorDescription",
    "hash", "index", "intValue", "main", "makeIterator", "next", "rawValue", "run", "stringValue", "validate",
    "subscript", "init", "deinit", "allValueStrings", "defaultValueDescription", "subcommands",
}

CLOCKS = [
    (re.compile(pattern), what)
    for pattern, what in [
        (r"\bDate\s*\(\s*\)|\bDate\s*\.\s*now\b", "a clock"),
        (r"\b(?:ContinuousClock|SuspendingClock|DispatchTime|clock_gettime|gettimeofday|mach_absolute_time)\b", "a clock"),
        (r"(?<![\w.])time\s*\(\s*(?:nil|NULL|&)", "a clock"),
        (r"\bTask\s*\.\s*sleep\b|(?<![\w.])u?sleep\s*\(", "a clock"),
        (r"\bProcessInfo\b|(?<![\w.])getenv\s*\(", "the process's environment"),
        (r"\.\s*random\s*\(|\bSystemRandomNumberGenerator\b|\barc4random\w*\b|(?<![\w.])s?rand(?:om)?\s*\(", "randomness"),
        (r"\.\s*(?:shuffled?|randomElement)\s*\(|\bUUID\s*\(", "randomness"),
        (r"\bHasher\s*\(|\bhashValue\b", "hashes that differ from process to process"),
    ]
]

NOTE = re.compile(r"(?://|/\*|^\s*\*).*?\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
NOTE_IN_SCRIPT = re.compile(r"#.*?\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
ISSUE = re.compile(r"#\d+")
LONG = re.compile(r"(?://|/\*|#|<!--)\s*long:\s*\S")
USED = re.compile(r"//\s*used:\s*\S")
FOR_TESTS = re.compile(r"//\s*for tests\b")


class Fault:
    def __init__(self, path, line, rule, message):
        self.path, self.line, self.rule, self.message = path, line, rule, message

    def __str__(self):
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


# MARK: Lengths

SWIFT_BODY = re.compile(r"\b(func|init|deinit|subscript)\b|\bvar\s+(\w+)\s*:[^={}\n]+(?=\{)")
SWIFT_END_OF_HEAD = re.compile(r"\b(?:func|var|let|init|deinit|subscript|case|struct|enum|class|protocol|extension)\b")


def swift_body(code, start):
    """Where the body of a declaration whose head ends at `start` opens; nil for a requirement."""
    depth = 0
    at = start
    while at < len(code):
        c = code[at]
        if c in "([":
            depth += 1
        elif c in ")]":
            depth -= 1
            if depth < 0:
                return None
        elif depth == 0:
            if c == "{":
                return at
            if c in "};":
                return None
            if c.isalpha() and not (code[at - 1].isalnum() or code[at - 1] in "_."):
                if SWIFT_END_OF_HEAD.match(code, at):
                    return None
        at += 1
    return None


def swift_functions(source):
    """Name, first line and last line of each."""
    code = source.code
    for match in SWIFT_BODY.finditer(code):
        keyword = match.group(1)
        before = code[match.start() - 1] if match.start() else " "
        if before in ".#`":
            continue
        if keyword == "init" or keyword == "subscript":
            if not re.match(r"\s*[?!]?\s*[(<]", code[match.end() :]):
                continue
        opening = match.end() if keyword is None else swift_body(code, match.end())
        if opening is None:
            continue
        name = match.group(2) or keyword
        if keyword == "func":
            name = re.match(r"\s*`?(\w+|[^\s\w(`]+)", code[match.end() :]).group(1)
        yield name, source.line_of(match.start()), source.line_of(end_of_braces(code, opening))


C_CONTAINER = re.compile(r"\b(?:namespace|struct|class|union|enum|extern)\b")


def c_functions(source):
    """Name, first line and last line of each."""
    code = re.sub(r"^[ \t]*#.*?(?<!\\)$", lambda m: blank(m.group()), source.code, flags=re.MULTILINE | re.DOTALL)
    stack = []
    head = 0
    for at, c in enumerate(code):
        if c == "{":
            text = code[head:at]
            inside = any(kind is not None for kind, _ in stack)
            call = re.search(r"([~\w]+)\s*\(", text)
            is_function = not inside and call and "=" not in text.split("(")[0] and not (
                C_CONTAINER.match(text.strip()) and not re.search(r"\)\s*(?:const|noexcept|override)?\s*$", text))
            first = head + len(text) - len(text.lstrip())
            stack.append((call.group(1), first) if is_function else (None, at))
            head = at + 1
        elif c == "}":
            if stack:
                name, first = stack.pop()
                if name:
                    yield name, source.line_of(first), source.line_of(at)
            head = at + 1
        elif c == ";":
            head = at + 1


def is_excused(source, first, last):
    if any(LONG.search(line) for line in source.lines[first - 1 : last]):
        return True
    at = first - 2
    while at >= 0 and re.match(r"\s*(?://|/\*|\*|@|#)", source.lines[at]):
        if LONG.search(source.lines[at]):
            return True
        at -= 1
    return False


def lengths(sources):
    for source in sources:
        if len(source.lines) > MOST_FILE_LINES and not any(LONG.search(line) for line in source.lines[:10]):
            yield Fault(source.path, 1, "length", f"{len(source.lines)} lines, more than {MOST_FILE_LINES}")
        if source.folder != "Sources" or source.suffix in SCRIPTS:
            continue
        functions = swift_functions(source) if source.suffix in SWIFT else c_functions(source)
        for name, first, last in functions:
            count = last - first + 1
            if count > MOST_FUNCTION_LINES and not is_excused(source, first, last):
                yield Fault(
                    source.path, first, "length", f"{name} has {count} lines, more than {MOST_FUNCTION_LINES}")


# MARK: Unused declarations

TOKEN = re.compile(r"[A-Za-z_]\w*")
DECLARATION = re.compile(
    r"\b(?:func|struct|class|enum|protocol|typealias|actor|var|let)\s+`?([A-Za-z_]\w*)"
    r"|\bcase\s+(`?[A-Za-z_])")
CASES = re.compile(r"[^\n]*(?:(?<=,)[ \t]*\n[^\n]*)*")
CASE_NAME = re.compile(r"(?:^|,)\s*`?([A-Za-z_]\w*)`?\s*(?=[(=,]|$)")
SUPPRESSED = {"var", "let", "func", "is", "as", "_", "class", "struct", "enum"}


def without_parentheses(text):
    """Spaces in the place of what is in parentheses, so that labels of cases are no cases."""
    out, depth = [], 0
    for c in text:
        depth -= c == ")"
        out.append(c if depth <= 0 else " ")
        depth += c == "("
    return "".join(out)


def declarations(source):
    """Name and offset of each declaration."""
    for match in DECLARATION.finditer(source.code):
        if match.group(1):
            if match.group(1) not in SUPPRESSED:
                yield match.group(1), match.start(1)
            continue
        rest = CASES.match(source.code, match.start(2)).group()
        flat = without_parentheses(rest).split("{")[0].split("}")[0]
        if ":" in flat:
            continue  # a pattern of a switch
        for name in CASE_NAME.finditer(flat):
            if name.group(1) not in SUPPRESSED:
                yield name.group(1), match.start(2) + name.start(1)


RAW_TYPES = r"\b(?:String|CaseIterable|U?Int(?:8|16|32|64)?)\b"


def is_raw_case(source, offset):
    """Whether a declaration is a case of an enum that is made from raw values: nothing has to name it."""
    heads = list(re.finditer(r"\benum\s+\w+\s*([^{]*)\{", source.code[:offset]))
    return bool(
        re.search(r"\bcase\b[^\n]*$", source.code[:offset]) and heads and re.search(RAW_TYPES, heads[-1].group(1)))


def unused(sources):
    """Declarations of Sources that nothing in Sources names."""
    declared = defaultdict(list)
    uses = Counter()
    in_tests = Counter()
    for source in sources:
        if source.suffix not in SWIFT | C_FAMILY:
            continue
        own = set()
        if source.suffix in SWIFT:
            for name, offset in declarations(source):
                own.add(offset)
                if source.folder == "Sources":
                    declared[name].append((source, offset))
        for token in TOKEN.finditer(source.code):
            if token.start() not in own:
                uses[token.group()] += 1
                in_tests[token.group()] += source.folder != "Sources"
    for name, places in sorted(declared.items()):
        if name in WITNESSES or name.startswith("_"):
            continue
        only_tests = uses[name] > 0 and uses[name] == in_tests[name]
        if uses[name] > 0 and not only_tests:
            continue
        for source, offset in places:
            line = source.line_of(offset)
            if source.has_mark(USED, line) or only_tests and source.has_mark(FOR_TESTS, line):
                continue
            if is_raw_case(source, offset) or re.search(r"@(?:main|Test|objc)\b", source.lines[line - 1]):
                continue
            if re.search(r"\boverride\b", source.lines[line - 1]):
                continue
            yield Fault(
                source.path, line, "unused", f"only tests name {name}" if only_tests else f"nothing names {name}")


C_PROTOTYPE = re.compile(r"\b([A-Za-z_]\w*)\s*\([^;{}()]*(?:\([^()]*\)[^;{}()]*)*\)\s*(?:__attribute__\s*\(\(.*?\)\)\s*)?;")


def unused_c(sources):
    prototypes = {}
    for source in sources:
        if source.folder == "Sources" and source.suffix in {".h", ".hpp"} and "/include/" in source.path:
            code, depth = source.code, 0
            bodies = []
            for name, first, last in c_functions(source):
                bodies.append((first, last))
            for match in C_PROTOTYPE.finditer(code):
                line = source.line_of(match.start())
                before = code[max(0, match.start() - 80) : match.start()].rstrip()
                if any(first <= line <= last for first, last in bodies) or not re.search(r"[\w*]$", before):
                    continue
                if re.search(r"\b(?:return|typedef)\s*[^;{}]*$", before) or before.endswith("else"):
                    continue
                prototypes.setdefault(match.group(1), (source, line))
    called = set()
    for source in sources:
        if source.suffix in SWIFT:
            called.update(token.group() for token in TOKEN.finditer(source.code))
        elif source.suffix in C_FAMILY:
            lines = source.code.splitlines()
            for name, first, last in c_functions(source):
                body = "\n".join(lines[first - 1 : last])
                opening = body.find("{")
                called.update(token.group() for token in TOKEN.finditer(body[opening:]))
            for line in lines:  # macros and tables
                if re.match(r"\s*#|.*=", line) or line.rstrip().endswith("\\"):
                    called.update(token.group() for token in TOKEN.finditer(line))
    for name, (source, line) in sorted(prototypes.items()):
        if name not in called and not source.has_mark(USED, line):
            yield Fault(source.path, line, "unused", f"nothing calls {name}")


# MARK: Clocks and notes


def clocks(sources):
    for source in sources:
        if not source.path.startswith("Sources/Engine/"):
            continue
        for pattern, what in CLOCKS:
            for match in pattern.finditer(source.code):
                yield Fault(
                    source.path, source.line_of(match.start()), "clock",
                    f"{match.group().strip()} is {what}; the engine's outputs must follow from its inputs alone")


def notes(sources):
    for source in sources:
        for i, line in enumerate(source.lines):
            match = (NOTE_IN_SCRIPT if source.suffix in SCRIPTS else NOTE).search(line)
            if match and not ISSUE.search(line):
                yield Fault(source.path, i + 1, "notes", f"{match.group(1)} names no issue (#12)")


def read(root):
    """Everything that is checked, in the order of its paths."""
    suffixes = SWIFT | C_FAMILY | SCRIPTS
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            if path.suffix in suffixes and path.is_file() and not hidden:
                yield Source(root, path)


def check(root):
    sources = list(read(root))
    faults = [*lengths(sources), *unused(sources), *unused_c(sources), *clocks(sources), *notes(sources)]
    return sorted(faults, key=lambda fault: (fault.path, fault.line, fault.rule))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", default=".", type=pathlib.Path, help="the tree (default: this folder)")
    arguments = parser.parse_args()
    if not (arguments.root / "Sources").is_dir():
        parser.error(f"{arguments.root} has no folder Sources")
    faults = check(arguments.root)
    for fault in faults:
        print(fault)
    if faults:
        print(f"tidy: {len(faults)} faults", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
