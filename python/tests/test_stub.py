"""`_native.pyi` says what the native module is."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest

import candle_deeplab as cd
from candle_deeplab import _native

STUB = ast.parse((Path(cd.__file__).parent / "_native.pyi").read_text(encoding="utf-8"))

# What only describes types.
TYPES = {"Tensor"}


def functions(scope: ast.Module | ast.ClassDef) -> dict[str, ast.FunctionDef]:
    """The functions of a scope; of one that is overloaded the last, which has the text."""
    return {node.name: node for node in scope.body if isinstance(node, ast.FunctionDef)}


CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef) and node.name not in TYPES}
MEMBERS = [(name, member) for name, scope in CLASSES.items() for member in functions(scope)]


def words(text: str | None) -> list[str]:
    return (text or "").split()


def parameters(function: ast.FunctionDef) -> list[tuple[str, Any]]:
    """The names of parameters, and their defaults."""
    arguments = function.args
    required = len(arguments.args) - len(arguments.defaults)
    defaults = [inspect.Parameter.empty] * required + [ast.literal_eval(value) for value in arguments.defaults]
    found = list(zip([argument.arg for argument in arguments.args], defaults, strict=True))
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found.append((f"*{argument.arg}", inspect.Parameter.empty if default is None else ast.literal_eval(default)))
    return found


def native_parameters(function: Any) -> list[tuple[str, Any]]:
    def shown(parameter: inspect.Parameter) -> str:
        return f"*{parameter.name}" if parameter.kind is parameter.KEYWORD_ONLY else parameter.name

    return [(shown(parameter), parameter.default) for parameter in inspect.signature(function).parameters.values()]


def test_everything_is_described() -> None:
    public = {name for name in vars(_native) if not name.startswith("_")}
    assert public == CLASSES.keys() | functions(STUB).keys()
    assert set(cd.__all__) == public - {"run"} | {"__version__"}
    for name in cd.__all__:
        assert getattr(cd, name) is getattr(_native, name)


@pytest.mark.parametrize("name", functions(STUB))
def test_functions_are_as_described(name: str) -> None:
    described, function = functions(STUB)[name], getattr(_native, name)
    assert native_parameters(function) == parameters(described)
    assert words(inspect.getdoc(function)) == words(ast.get_docstring(described))


@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_as_described(name: str) -> None:
    described, made = CLASSES[name], getattr(_native, name)
    assert words(made.__doc__) == words(ast.get_docstring(described))
    assert made.__module__ == "candle_deeplab"
    assert {member for member in vars(made) if not member.startswith("_")} == functions(described).keys()


@pytest.mark.parametrize("name, member", MEMBERS)
def test_members_are_as_described(name: str, member: str) -> None:
    described, native = functions(CLASSES[name])[member], getattr(getattr(_native, name), member)
    assert words(inspect.getdoc(native)) == words(ast.get_docstring(described))
    is_property = any(isinstance(mark, ast.Name) and mark.id == "property" for mark in described.decorator_list)
    assert inspect.isgetsetdescriptor(native) == is_property
    if not is_property:
        assert native_parameters(native) == parameters(described)
