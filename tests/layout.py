"""What the shape of cronwatch.py is allowed to be, read from its syntax tree.

Every check takes source text and returns sentences, one for each thing that is wrong; none means
that all is well. tests/test_layout.py runs them, tests/check_coverage.py uses `sections`.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "cronwatch.py"

HEAD = "docstring and imports"
SECTIONS = [
    "Settings",
    "Schedules",
    "Records",
    "Rules",
    "Dialects",
    "Fields",
    "Storage",
    "Monitors",
    "Pings",
    "Alerts",
    "Reports",
    "People",
    "HTTP",
    "Server",
    "Import and export",
    "Command line",
]
PURE = ["Schedules", "Records", "Rules", "Dialects", "Fields"]
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

Function = (ast.FunctionDef, ast.AsyncFunctionDef)
Scope = (*Function, ast.ClassDef, ast.Lambda)


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
# Which module-level names a piece of code uses. May not know what a section is.


@dataclass(frozen=True)
class Use:
    """A name that is not local where it stands, with the attributes asked of it: `os.path`."""

    name: str
    dotted: str
    line: int


def within(node: ast.AST) -> Iterator[ast.AST]:
    """`node` and what is in its scope: nothing inside of functions, classes and lambdas below it,
    and no target of a comprehension (what `:=` binds in one is ours).
    """
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Scope):
            yield child
        elif not (isinstance(node, ast.comprehension) and child is node.target):
            yield from within(child)


def bound_by(node: ast.AST) -> set[str]:
    """The names that this one node binds in the scope that it stands in."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return {name}
        case ast.ClassDef(name=name):
            return {name}
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return {name}
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {alias.asname or alias.name.partition(".")[0] for alias in names}
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            return {name}
        case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
            return {name}
    return set()


def bound_in(body: list[ast.stmt]) -> set[str]:
    """The names that are local to a function or class with this body."""
    nodes = [node for statement in body for node in within_statement(statement)]
    foreign = {
        name
        for node in nodes
        if isinstance(node, (ast.Global, ast.Nonlocal))
        for name in node.names
    }
    return set().union(*(bound_by(node) for node in nodes)) - foreign


def within_statement(statement: ast.stmt) -> Iterator[ast.AST]:
    """`within`, for a statement that may itself be a function or a class."""
    if isinstance(statement, Scope):
        yield statement
    else:
        yield from within(statement)


def argument_names(arguments: ast.arguments) -> set[str]:
    """The names of a function's parameters."""
    return {node.arg for node in ast.walk(arguments) if isinstance(node, ast.arg)}


def type_parameters(node: ast.AST) -> list[ast.AST]:
    """`[T]` of a function or class, from Python 3.12 on."""
    return list(getattr(node, "type_params", []))


def uses(node: ast.AST, local: frozenset[str] = frozenset()) -> Iterator[Use]:
    """Every use in `node`, at any depth, of a name that is neither in `local` nor bound there."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from uses_of_function(node, local)
        case ast.ClassDef():
            yield from uses_of_class(node, local)
        case ast.Lambda(args=arguments, body=body):
            yield from uses(arguments, local)
            yield from uses(body, local | argument_names(arguments))
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            yield from uses_of_comprehension(node, local)
        case ast.AnnAssign(annotation=annotation):
            yield from uses_of_annotation(annotation, local)
            yield from uses_below(node, local)
        case ast.arg(annotation=ast.expr() as annotation):
            yield from uses_of_annotation(annotation, local)
        case ast.Attribute() | ast.Name(ctx=ast.Load()) if dotted := dotted_name(node):
            if (name := dotted.partition(".")[0]) not in local:
                yield Use(name, dotted, node.lineno)
        case _:
            yield from uses_below(node, local)


def uses_below(node: ast.AST, local: frozenset[str]) -> Iterator[Use]:
    """The uses in the parts of `node`."""
    for child in ast.iter_child_nodes(node):
        yield from uses(child, local)


def uses_of_function(
    node: ast.FunctionDef | ast.AsyncFunctionDef, local: frozenset[str]
) -> Iterator[Use]:
    """Decorators, defaults and annotations stand outside the function, its body inside."""
    outside: list[ast.AST] = [*node.decorator_list, node.args, *type_parameters(node)]
    for part in outside:
        yield from uses(part, local)
    yield from uses_of_annotation(node.returns, local) if node.returns else ()
    inside = local | argument_names(node.args) | bound_in(node.body)
    for statement in node.body:
        yield from uses(statement, frozenset(inside))


def uses_of_class(node: ast.ClassDef, local: frozenset[str]) -> Iterator[Use]:
    """A class body sees its own names; the functions in it do not."""
    outside: list[ast.AST] = [*node.decorator_list, *node.bases, *node.keywords]
    for part in [*outside, *type_parameters(node)]:
        yield from uses(part, local)
    own = frozenset(local | bound_in(node.body))
    for statement in node.body:
        yield from uses(statement, local if isinstance(statement, Function) else own)


def uses_of_comprehension(
    node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, local: frozenset[str]
) -> Iterator[Use]:
    """What the first `for` runs over stands outside the comprehension, all else inside."""
    outside = node.generators[0].iter
    targets = [child.target for child in node.generators]
    inside = local | {
        name for target in targets for part in ast.walk(target) for name in bound_by(part)
    }
    yield from uses(outside, local)
    for child in ast.iter_child_nodes(node):
        parts = ast.iter_child_nodes(child) if isinstance(child, ast.comprehension) else [child]
        for piece in parts:
            if piece is not outside:
                yield from uses(piece, inside)


def uses_of_annotation(annotation: ast.expr, local: frozenset[str]) -> Iterator[Use]:
    """The uses in an annotation, and in the strings in it that stand for annotations."""
    yield from uses(annotation, local)
    for node in ast.walk(annotation):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                inner = ast.parse(node.value, mode="eval").body
            except SyntaxError:
                continue  # Literal["not a type"]
            for use in uses(inner, local):
                yield Use(use.name, use.dotted, node.lineno)


def dotted_name(node: ast.expr) -> str:
    """`a.b.c` as text; empty where it does not begin with a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := dotted_name(node.value)):
        return f"{base}.{node.attr}"
    return ""


def definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    """Each module-level name with the statement that binds it first."""
    found: dict[str, ast.stmt] = {}
    for statement in tree.body:
        for node in within_statement(statement):
            for name in bound_by(node):
                found.setdefault(name, statement)
    return found


@cache
def origins(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for: `dt` for `datetime`, `now` for `time.time`."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    found[alias.asname] = alias.name
                else:
                    found[alias.name.partition(".")[0]] = alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


# == Checks ===================================================================
# One promise each. May not print or read a file.


def order_faults(source: str) -> list[str]:
    """Names used in a section above the one that defines them."""
    tree, parts = ast.parse(source), sections(source)
    defined = {name: section_index(parts, node.lineno) for name, node in definitions(tree).items()}
    faults = []
    for use in uses(tree):
        here = section_index(parts, use.line)
        if (there := defined.get(use.name, 0)) > here:
            faults.append(
                f"line {use.line}: {parts[here].name} uses {use.name} of {parts[there].name},"
                " which comes later"
            )
    return faults


def purity_faults(source: str, pure: list[str]) -> list[str]:
    """Where a pure section reaches a clock, a file, a log and so on, itself or through others."""
    tree, parts = ast.parse(source), sections(source)
    reasons = impure_statements(tree)
    return [
        f"{part.name} is pure, but {reason}"
        for statement, reason in reasons.items()
        for part in [parts[section_index(parts, statement.lineno)]]
        if part.name in pure
    ]


def impure_statements(tree: ast.Module) -> dict[ast.stmt, str]:
    """The module's statements that are impure, each with a reason, spread along their uses."""
    defined = definitions(tree)
    reasons: dict[ast.stmt, str] = {}
    for statement in tree.body:
        top_import = isinstance(statement, (ast.Import, ast.ImportFrom))
        if not top_import and (direct := next(impurities(statement, tree), None)):
            reasons[statement] = direct
    grown = True
    while grown:
        grown = False
        for statement in tree.body:
            for use in uses(statement) if statement not in reasons else ():
                if (other := defined.get(use.name)) in reasons:
                    reasons[statement] = f"line {use.line} uses {use.name}: {reasons[other]}"
                    grown = True
                    break
    return reasons


def impurities(statement: ast.stmt, tree: ast.Module) -> Iterator[str]:
    """What a statement itself does that a pure one may not."""
    known, own = origins(tree), origins(statement)
    for imported in own.values():
        if is_impure(imported):
            yield f"line {statement.lineno} imports {imported}"
    for use in uses(statement):
        first, _, rest = use.dotted.partition(".")
        is_builtin = first not in known and hasattr(builtins, first)
        if first in known or is_builtin:
            full = known.get(first, first) + ("." + rest if rest else "")
            if is_impure(full):
                yield f"line {use.line} uses {full}"
    for node in ast.walk(statement):
        match node:
            case ast.Call(func=ast.Attribute(attr=name)) if name in CLOCK_METHODS:
                yield f"line {node.lineno} asks a clock: .{name}()"


def is_impure(name: str) -> bool:
    """Whether a dotted name, or the module or class that it is in, is on the list."""
    pieces = name.split(".")
    return any(".".join(pieces[:count]) in IMPURE for count in range(1, len(pieces) + 1))


def docstring_faults(source: str) -> list[str]:
    """Public functions and classes, and public methods of public classes, without a docstring."""
    tree = ast.parse(source)
    public = list(public_in(tree))
    for node in list(public):
        if isinstance(node, ast.ClassDef):
            public += [child for child in public_in(node) if isinstance(child, Function)]
    return [
        f"line {node.lineno}: {node.name} has no docstring"
        for node in public
        if not ast.get_docstring(node)
    ]


def public_in(
    parent: ast.Module | ast.ClassDef,
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """The functions and classes directly in `parent` whose name does not begin with `_`."""
    for node in parent.body:
        if isinstance(node, (*Function, ast.ClassDef)) and not node.name.startswith("_"):
            yield node
