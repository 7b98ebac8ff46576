"""Wording is complete in every language, and the code and the wording file know the same keys."""

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

from cnxs import errors, registry, text

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8"))
    for path in [*ROOT.glob("app.py"), *(ROOT / "cnxs").rglob("*.py")]
}
AREAS = {"error", "note", "kind", "param", "page", "hint", "cli"}
ERROR_CLASSES = {
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.UserError)
}


def placeholders(words: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(words) if name is not None}


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield (file, call) of every call in the program."""
    for file, tree in SOURCES.items():
        yield from ((file, node) for node in ast.walk(tree) if isinstance(node, ast.Call))


def raised_errors() -> Iterator[tuple[str, ast.Call, ast.Constant]]:
    """Yield (place, call, key) of every user error that is built with a key in words."""
    for file, call in calls():
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in ERROR_CLASSES and call.args and isinstance(call.args[0], ast.Constant):
            yield f"{file}:{call.lineno}", call, call.args[0]


def looked_up() -> Iterator[tuple[str, ast.expr]]:
    """Yield (place, key) of every `text.get(key, ...)`."""
    for file, call in calls():
        if ast.unparse(call.func) == "text.get" and call.args:
            yield f"{file}:{call.lineno}", call.args[0]


@pytest.mark.parametrize("key", text.entries())
def test_every_entry_is_complete_in_every_language(key: str) -> None:
    words = text.entries()[key]
    assert set(words) == set(text.LANGUAGES)
    assert all(sentence.strip() == sentence != "" for sentence in words.values())
    assert len({frozenset(placeholders(sentence)) for sentence in words.values()}) == 1
    assert all(name.isidentifier() for name in placeholders(words["en"])), "placeholders have names"
    assert key.split(".")[0] in AREAS


@pytest.mark.parametrize("key", [key for key in text.entries() if key.startswith(("error.", "note."))])
def test_errors_and_notes_end_as_a_sentence_or_with_a_command(key: str) -> None:
    assert all(re.search(r"[.!?]$|: python -m [\w. -]+$", words) for words in text.entries()[key].values())


def test_every_error_that_is_raised_has_its_sentence_and_fills_it() -> None:
    for place, call, key in raised_errors():
        entry = text.entries().get(f"error.{key.value}")
        assert entry is not None, f"{place} raises {key.value}, which has no sentence"
        given = {keyword.arg for keyword in call.keywords}
        assert None in given or placeholders(entry["en"]) == given, f"{place} gives {given} to: {entry['en']}"


def test_every_sentence_of_an_error_is_used() -> None:
    # Keys also travel through tables and parameters, so every string of the program counts.
    strings = {
        node.value
        for tree in SOURCES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    keys = {key.removeprefix("error.") for key in text.entries() if key.startswith("error.")}
    assert keys <= strings, f"never raised: {sorted(keys - strings)}"


def test_every_key_that_is_looked_up_exists() -> None:
    for place, key in looked_up():
        for option in (key.body, key.orelse) if isinstance(key, ast.IfExp) else (key,):
            if isinstance(option, ast.Constant):
                assert option.value in text.entries(), f"{place}: {option.value}"
            elif isinstance(option, ast.JoinedStr) and isinstance(option.values[0], ast.Constant):
                start = option.values[0].value
                assert any(entry.startswith(start) for entry in text.entries()), f"{place}: {start}..."


@pytest.mark.parametrize("kind", registry.CONTROL_KINDS.values(), ids=lambda kind: kind.name)
def test_every_control_kind_and_slider_has_its_words(kind: registry.ControlKind) -> None:
    keys = [f"kind.{kind.name}", f"kind.{kind.name}_hint", *(f"param.{param.name}" for param in kind.params)]
    assert [key for key in keys if key not in text.entries()] == []


def test_get_fills_in_fields_in_the_asked_language() -> None:
    fields = {"name": "steps", "given": 0, "minimum": 1, "maximum": 150}
    assert text.get("error.out_of_range", **fields) == "steps is 0; allowed is 1 to 150."
    assert text.get("error.out_of_range", "de", **fields) == "steps ist 0; erlaubt ist 1 bis 150."


def test_a_language_that_is_not_there_falls_back_to_english() -> None:
    assert text.get("error.unknown_job", "fr") == text.get("error.unknown_job", "en")


def test_a_key_that_is_not_there_is_a_programming_error() -> None:
    with pytest.raises(KeyError):
        text.get("error.no_such_key")


@pytest.mark.parametrize("kind", [errors.InputError, errors.CheckpointError, errors.UnavailableError])
def test_an_error_survives_a_process_border(kind: type[errors.UserError]) -> None:
    error = kind("out_of_range", name="steps", given=0, minimum=1, maximum=150)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.key, copy.fields) == (error.key, error.fields)
    assert str(copy) == "steps is 0; allowed is 1 to 150."
