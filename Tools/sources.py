"""Source files as tidy.py sees them: text, code without comments and literals, marks in comments."""

import re

SWIFT = {".swift"}
C_FAMILY = {".c", ".h", ".cpp", ".hpp", ".inc"}
SCRIPTS = {".py", ".sh"}


def blank(text):
    """Spaces in the place of everything but line ends."""
    return re.sub(r"[^\n]", " ", text)


def code_of_swift(text):
    """`text` of the same length without comments and literals; what is interpolated stays."""
    out = []
    at = 0

    def literal(start, hashes, quotes):
        """The end of a literal whose opening quotes end at `start`; appends it."""
        close = quotes + "#" * hashes
        interpolation = "\\" + "#" * hashes + "("
        at = start
        while at < len(text):
            if text.startswith(close, at):
                out.append(" " * len(close))
                return at + len(close)
            if text.startswith(interpolation, at):
                out.append(" " * (len(interpolation) - 1) + "(")
                at = code(at + len(interpolation), in_parentheses=True)
            elif text[at] == "\\" and hashes == 0:
                out.append(blank(text[at : at + 2]))
                at += 2
            elif text[at] == "\n" and len(quotes) == 1:
                return at
            else:
                out.append(blank(text[at]))
                at += 1
        return at

    def code(at, in_parentheses=False):
        depth = 1
        while at < len(text):
            c = text[at]
            if c == "/" and text.startswith("//", at):
                end = text.find("\n", at)
                end = len(text) if end < 0 else end
                out.append(" " * (end - at))
                at = end
                continue
            if c == "/" and text.startswith("/*", at):
                end, nested = at + 2, 1
                while end < len(text) and nested > 0:
                    if text.startswith("/*", end):
                        nested, end = nested + 1, end + 2
                    elif text.startswith("*/", end):
                        nested, end = nested - 1, end + 2
                    else:
                        end += 1
                out.append(blank(text[at:end]))
                at = end
                continue
            if c in "\"#":
                opening = re.compile(r'(#*)("""|")').match(text, at)
                if opening:
                    out.append(" " * len(opening.group()))
                    at = literal(opening.end(), len(opening.group(1)), opening.group(2))
                    continue
            if in_parentheses:
                depth += (c == "(") - (c == ")")
                if depth == 0:
                    out.append(c)
                    return at + 1
            out.append(c)
            at += 1
        return at

    code(at)
    return "".join(out)


C_SKIP = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"\(.*?\)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)
NUMBER_WITH_QUOTES = re.compile(r"(?<=\d)'(?=\d)")


def code_of_c(text):
    """`text` of the same length without comments and literals."""
    return C_SKIP.sub(lambda m: blank(m.group()), NUMBER_WITH_QUOTES.sub("0", text))


def end_of_braces(code, opening):
    depth = 0
    for at in range(opening, len(code)):
        depth += (code[at] == "{") - (code[at] == "}")
        if depth == 0:
            return at
    return len(code) - 1


class Source:
    def __init__(self, root, path):
        self.path = path.relative_to(root).as_posix()
        self.folder = self.path.split("/")[0]
        self.suffix = path.suffix
        self.text = path.read_text(encoding="utf-8", errors="replace")
        self.lines = self.text.split("\n")
        if self.lines[-1] == "":
            self.lines.pop()
        self.marked = {}
        self.code = (
            code_of_swift(self.text) if self.suffix in SWIFT else code_of_c(self.text) if self.suffix in C_FAMILY else "")

    def line_of(self, offset):
        return self.text.count("\n", 0, offset) + 1

    def has_mark(self, pattern, line):
        """Whether a mark holds for a line (from 1)."""
        if pattern not in self.marked:
            self.marked[pattern] = set(self.find_marked(pattern))
        return line in self.marked[pattern]

    def find_marked(self, pattern):
        """The lines for which a mark holds."""
        for i, text in enumerate(self.lines):
            if not pattern.search(text):
                continue
            at = i
            while at < len(self.lines) and re.match(r"\s*(?://|@|$)", self.lines[at]):
                at += 1
            last = at
            if at < len(self.lines) and self.lines[at].split("//")[0].rstrip().endswith("{"):
                opening = sum(len(line) + 1 for line in self.lines[:at]) + self.lines[at].split("//")[0].rindex("{")
                last = self.line_of(end_of_braces(self.code, opening)) - 1
            yield from range(i + 1, last + 2)
