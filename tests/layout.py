"""What the shape of cronwatch.py is allowed to be, read from its syntax tree and symbol table.

Every check takes source text and returns sentences, one for each thing that is wrong; none means
that all is well. tests/test_layout.py runs them, tests/check_coverage.py uses `sections`.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "cronwatch.py"

HEAD = "docstring and imports"
PURE = ["Schedules", "Records", "Rules", "Dialects", "Fields"]
SECTIONS = ["Settings", *PURE, "Storage", "Monitors", "Pings", "Alerts", "Reports", "People"]
SECTIONS += ["HTTP", "Server", "Import and export", "Command line"]
BANNER = re.compile(r"# == (\S.*\S) =+")
BANNER_WIDTH = 79

# What a pure section may not reach: a module with all that is in it, or one name.
IMPURE = {
    "asyncio", "bottle", "concurrent", "fcntl", "http.client", "http.cookiejar", "http.server",
    "io", "logging", "multiprocessing", "os", "pathlib", "peewee", "playhouse", "queue", "random",
    "sched", "secrets", "select", "selectors", "shutil", "signal", "smtplib", "socket",
    "socketserver", "sqlite3", "ssl", "subprocess", "sys.argv", "sys.stderr", "sys.stdin",
    "sys.stdout", "tempfile", "threading", "time", "urllib.request", "uuid.uuid1", "uuid.uuid4",
    "waitress", "webbrowser", "wsgiref",
    "datetime.date.today", "datetime.datetime.now", "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "__import__", "breakpoint", "eval", "exec", "globals", "input", "open", "print",
}  # fmt: skip
# Asking an object for one of these is asking a clock, whatever the class is called here.
CLOCK_METHODS = {"now", "today", "utcnow"}

# == Sections =================================================================
# Finds the banners. May not look at code.


@dataclass(frozen=True)
class Section:
    """A stretch of lines, from its banner to the line before the next one; 1 is the first."""

    name: str
    first: int
    last: int


def sections(source: str) -> list[Section]:
    """The sections of `source` in order, the head (whatever precedes the first banner) first."""
    lines = source.splitlines()
    starts = [(HEAD, 1)]
    for number, line in enumerate(lines, 1):
        if banner := BANNER.fullmatch(line):
            starts.append((banner[1], number))
    ends = [first - 1 for _, first in starts[1:]] + [len(lines)]
    return [Section(name, first, last) for (name, first), last in zip(starts, ends, strict=True)]


def banner_faults(source: str, expected: list[str]) -> list[str]:
    """Banners that are malformed, missing, out of order, or without their one line below."""
    lines = [*source.splitlines(), "", ""]
    faults = []
    for number, line in enumerate(lines, 1):
        if not line.startswith("# =="):
            continue
        if not BANNER.fullmatch(line):
            faults.append(f"line {number}: a banner reads '# == NAME ===='")
        elif len(line) != BANNER_WIDTH:
            faults.append(f"line {number}: this banner is {len(line)} wide, not {BANNER_WIDTH}")
        elif not lines[number].startswith("# ") or lines[number + 1].startswith("#"):
            faults.append(f"line {number}: one comment line under it says what it may not do")
    found = [section.name for section in sections(source)[1:]]
    if found != expected:
        faults.append(f"the sections are {found}, not {expected}")
    return faults


def section_index(parts: list[Section], line: int) -> int:
    """The place in `parts` of the section that holds a line."""
    return max(index for index, part in enumerate(parts) if part.first <= line)


# == Names ====================================================================
# Which names of the module a statement uses and defines. May not know what a section is.


def tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    """A scope and all that are in it."""
    yield table
    for child in table.get_children():
        yield from tables(child)


def table_of(statement: ast.stmt) -> symtable.SymbolTable:
    """The names of a statement of the module, as if it stood there alone."""
    return symtable.symtable(ast.unparse(statement), "module", "exec")


def names_used(statement: ast.stmt) -> set[str]:
    """The names that a statement uses, at any depth, and that are local nowhere in it."""
    top = table_of(statement)
    return {
        symbol.get_name()
        for table in tables(top)
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table is top or symbol.is_global())
    }


def definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    """Each module-level name with the statement that binds it first."""
    return {
        symbol.get_name(): statement
        for statement in reversed(tree.body)
        for symbol in table_of(statement).get_symbols()
        if symbol.is_assigned() or symbol.is_imported()
    }


def imports(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for: `dt` for `datetime`, `now` for `time.time`."""
    origins = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                origins[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                origins[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return origins


# == Checks ===================================================================
# One promise each. May not print or read a file.


def order_faults(source: str) -> list[str]:
    """Names used in a section above the one that defines them."""
    tree, parts = ast.parse(source), sections(source)
    place = {
        name: section_index(parts, statement.lineno)
        for name, statement in definitions(tree).items()
    }
    faults = []
    for statement in tree.body:
        here = section_index(parts, statement.lineno)
        faults += [
            f"line {statement.lineno}: {parts[here].name} uses {name} of"
            f" {parts[place[name]].name}, which comes later"
            for name in sorted(names_used(statement))
            if place.get(name, 0) > here
        ]
    return faults


def purity_faults(source: str, pure: list[str]) -> list[str]:
    """Where a pure section reaches a clock, a file, a log and so on, itself or through others."""
    tree, parts = ast.parse(source), sections(source)
    faults = []
    for statement, reason in impure_statements(tree).items():
        part = parts[section_index(parts, statement.lineno)]
        if part.name in pure:
            faults.append(f"{part.name} is pure, but {reason}")
    return faults


def impure_statements(tree: ast.Module) -> dict[ast.stmt, str]:
    """The module's statements that are impure, each with a reason, spread along their uses."""
    origins, defined = imports(tree), definitions(tree)
    used = {
        statement: names_used(statement)
        for statement in tree.body
        if not isinstance(statement, (ast.Import, ast.ImportFrom))
    }
    reasons: dict[ast.stmt, str] = {}
    for statement, names in used.items():
        for reason in impurities(statement, names, origins):
            reasons.setdefault(statement, f"line {statement.lineno} {reason}")
    spread = reasons
    while spread:
        spread = {
            statement: f"line {statement.lineno} uses {name}: {spread[defined[name]]}"
            for statement, names in used.items()
            if statement not in reasons
            for name in names
            if defined.get(name) in spread
        }
        reasons.update(spread)
    return reasons


def impurities(statement: ast.stmt, names: set[str], origins: dict[str, str]) -> Iterator[str]:
    """What a statement itself does that a pure one may not."""
    for imported in filter(is_impure, imports(statement).values()):
        yield f"imports {imported}"
    for node in ast.walk(statement):
        match node:
            case ast.Call(func=ast.Attribute(attr=name)) if name in CLOCK_METHODS:
                yield f"asks a clock: .{name}()"
            case ast.Attribute() | ast.Name():
                first, _, rest = ast.unparse(node).partition(".")
                is_foreign = first in origins or hasattr(builtins, first)
                full = f"{origins.get(first, first)}.{rest}"
                if first in names and is_foreign and is_impure(full):
                    yield f"uses {full}"


def is_impure(name: str) -> bool:
    """Whether a dotted name, or the module or class that it is in, is on the list."""
    pieces = name.split(".")
    return any(".".join(pieces[:count]) in IMPURE for count in range(1, len(pieces) + 1))
