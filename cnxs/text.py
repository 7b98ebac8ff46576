"""All wording of the program, looked up by key. The words live in `wording.toml`, every language side by side."""

import functools
import tomllib
from importlib import resources

LANGUAGES = ("en", "de")


@functools.cache
def entries() -> dict[str, dict[str, str]]:
    """Return every wording: dotted key -> {language: words}."""
    tables = tomllib.loads(resources.files("cnxs").joinpath("wording.toml").read_text("utf-8"))
    return {f"{area}.{name}": words for area, table in tables.items() for name, words in table.items()}


def get(key: str, language: str = "en", **fields: object) -> str:
    """Return the words for `key`, with `{placeholders}` filled from `fields`.

    Raises:
        KeyError: if there is no such key; a programming error, found by the tests.
    """
    words = entries()[key]
    return words.get(language, words["en"]).format(**fields)
