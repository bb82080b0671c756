"""Finds texts for users that nobody could translate: what errors, refusals and hints are made of, by the source."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Union

#: Functions that raise, or make, an error of the text that they are given.
RAISING = ("fail", "_fail", "_refuse", "storage_error", "error")
#: Errors of Anaconda's and pykickstart's, which users read as they are.
OTHERS = ("PayloadInstallationError", "ConfigurationError", "KickstartParseError")
MARKS = ("_", "N_", "translated")
#: What is not translated: options, sections, and names of commands.
_NAMES = re.compile(r"--[a-z0-9-]+|%[a-z-]+|\b(volume|novolume|part|raid|logvol|volgroup|org_ovirt_node)\b")
#: A place, and behind the colon what is wrong there, which is translated where it is made.
_PLACE = re.compile(r"[^a-zA-Z]*(: #)?", re.ASCII)
_Scope = Union[ast.FunctionDef, ast.Module]


def _is_prose(text: str) -> bool:
    """True for words of a language; each value in an f-string is a "#"."""
    return " " in text and not _PLACE.fullmatch(_NAMES.sub("", text))


def _callee(node: ast.Call) -> str:
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def _fields(text: str) -> set[str]:
    """The placeholders of a text for ``str.format``."""
    return {name for _before, name, _spec, _conversion in string.Formatter().parse(text) if name is not None}


def error_names(trees: list[ast.Module]) -> set[str]:
    """The names of NodeError and of all classes that are made of it."""
    names = {"NodeError"}
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while more := {node.name for node in classes if names & {getattr(base, "id", "") for base in node.bases}} - names:
        names |= more
    return names


@dataclass
class Finder:
    """Looks through one module."""

    tree: ast.Module
    errors: set[str]
    found: list[tuple[int, str]] = field(default_factory=list)

    def look(self) -> list[tuple[int, str]]:
        """Lines and what is wrong there."""
        for scope in self._scopes():
            assigned = self._assigned(scope)
            for node in self._nodes(scope):
                if isinstance(node, ast.Call):
                    self._call(node, {**self._assigned(self.tree), **assigned})
        self._shadows()
        return sorted(set(self.found))

    def _scopes(self) -> Iterator[_Scope]:
        yield self.tree
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef):
                yield node

    @staticmethod
    def _nodes(scope: _Scope) -> Iterator[ast.AST]:
        """What is in a scope and in no function within."""
        left: list[ast.AST] = list(scope.body)
        while left:
            node = left.pop()
            yield node
            if not isinstance(node, ast.FunctionDef):
                left += ast.iter_child_nodes(node)

    def _assigned(self, scope: _Scope) -> dict[str, list[ast.expr]]:
        """All that the names of a scope are made of."""
        values: dict[str, list[ast.expr]] = {}
        for node in self._nodes(scope):
            if not isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)) or node.value is None:
                continue
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts))
                for name, value in pairs:
                    if isinstance(name, ast.Name):
                        values.setdefault(name.id, []).append(value)
        return values

    def _call(self, node: ast.Call, known: dict[str, list[ast.expr]]) -> None:
        name = _callee(node)
        logged = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "log"
        if name in self.errors or name in OTHERS or (name in RAISING and not logged):
            for value in node.args:
                self._text(value, known)
        for keyword in node.keywords:
            if keyword.arg in ("hint", "message"):
                self._text(keyword.value, known)
        if name == "translated" and node.args:
            for part in ast.walk(node.args[0]):
                for table in known.get(part.id, []) if isinstance(part, ast.Name) else []:
                    self._table(table)
        if name == "format" and isinstance(node.func, ast.Attribute):
            given = {keyword.arg for keyword in node.keywords}
            for text in self._templates(node.func.value, known):
                if not node.args and None not in given and not _fields(text) <= given:
                    self.found.append((node.lineno, f"no value for a placeholder of {text!r}"))

    def _text(self, value: ast.expr, known: dict[str, list[ast.expr]]) -> None:
        """``value`` is what a user reads: it has to be marked, or made of what is."""
        if isinstance(value, ast.Constant) and isinstance(value.value, str) and _is_prose(value.value):
            self.found.append((value.lineno, f"not marked: {value.value!r}"))
        elif isinstance(value, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "#" for part in value.values)
            if _is_prose(text):
                self.found.append((value.lineno, f"not marked: {text!r}"))
        elif isinstance(value, ast.IfExp):
            self._text(value.body, known)
            self._text(value.orelse, known)
        elif isinstance(value, ast.BoolOp):
            for part in value.values:
                self._text(part, known)
        elif isinstance(value, ast.BinOp):
            self._text(value.left, known)
            self._text(value.right, known)
        elif isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and _callee(value) not in RAISING:
            self._text(value.func.value, {})
        elif isinstance(value, ast.Name):
            for one in known.get(value.id, []):
                self._text(one, {})

    def _table(self, table: ast.expr) -> None:
        """What is translated later has to be marked where it is written."""
        marked = {
            id(part)
            for call in ast.walk(table)
            if isinstance(call, ast.Call) and _callee(call) in MARKS
            for part in ast.walk(call)
        }
        for part in ast.walk(table):
            if id(part) not in marked and isinstance(part, ast.Constant):
                self._text(part, {})

    def _templates(self, value: ast.expr, known: dict[str, list[ast.expr]]) -> Iterator[str]:
        """The texts that ``value`` may be."""
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value
        elif isinstance(value, ast.Call) and _callee(value) in MARKS and value.args:
            yield from self._templates(value.args[0], known)
        elif isinstance(value, ast.IfExp):
            yield from self._templates(value.body, known)
            yield from self._templates(value.orelse, known)
        elif isinstance(value, ast.Name):
            for one in known.get(value.id, []):
                yield from self._templates(one, {})

    def _shadows(self) -> None:
        """Where ``_`` takes what nobody wants it cannot translate too."""
        loops = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
        for scope in ast.walk(self.tree):
            if not isinstance(scope, (ast.FunctionDef, *loops)):
                continue
            inner = {
                id(part)
                for loop in ast.walk(scope)
                if isinstance(loop, loops) and loop is not scope
                for part in ast.walk(loop)
            }
            names = [part for part in ast.walk(scope) if isinstance(part, ast.Name) and part.id == "_"]
            stored = any(isinstance(part.ctx, ast.Store) and id(part) not in inner for part in names)
            calls = [part for part in ast.walk(scope) if isinstance(part, ast.Call) and _callee(part) == "_"]
            if stored and calls:
                self.found.append((calls[0].lineno, "_ is another name's value here"))


def unmarked(files: list[Path], errors: set[str]) -> list[str]:
    """All findings in ``files``, each with its place."""
    return [
        f"{file}:{line}: {what}"
        for file in files
        for line, what in Finder(ast.parse(file.read_text(encoding="utf-8")), errors).look()
    ]
