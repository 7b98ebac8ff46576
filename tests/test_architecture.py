"""The design as a test: who may import whom, what stays light, and how long things may grow."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*ROOT.glob("app.py"), *(ROOT / "cnxs").rglob("*.py")])
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in SOURCES}

# What every part may read: the vocabulary of the program.
_WORDS = {"errors", "specs", "registry", "request", "records", "settings", "protocol", "text"}
_NETWORK = {"layers", "blocks", "hint", "model", "checkpoints"}
_SAMPLING = {"tensors", "codec", "bases", "prompts", "samplers", "residency", "pipeline"}
_MACHINE = {"hardware", "weights"}

# part -> the parts it may import beside itself. An arrow that is not here is a decision: take it in the design first.
ARROWS: dict[str, set[str]] = {
    "text": set(),
    "hardware": set(),
    "errors": {"text"},
    "specs": {"errors"},
    "registry": {"errors", "specs"},
    "request": {"errors"},
    "protocol": {"errors", "specs", "request", "records"},
    "records": {"request"},
    "settings": {"errors", "request"},
    "parameters": {"errors", "specs", "registry", "request"},
    "images": {"errors", "specs", "request"},
    "tensors": set(),
    "metrics": set(),
    "store": {"errors", "images"},
    "contact_sheet": set(),
    "building": set(),
    "devices": {"errors"},
    "controls": {"errors", "specs", "registry", "images", "building"},
    "layers": {"errors", "specs"},
    "blocks": {"errors", "specs", "layers"},
    "hint": {"errors", "specs", "layers"},
    "model": {"errors", "specs", "layers", "blocks", "hint"},
    "checkpoints": {"errors", "specs", "registry", "text", "layers", "blocks", "hint", "model"},
    "recognise": {"errors", "checkpoints"},
    "codec": {"errors", "specs", "images", "miniature"},
    "bases": {"errors", "specs", "registry", "codec", "miniature", "checkpoints", "recognise", "prompts"},
    "prompts": {"errors"},
    "samplers": {"errors", "specs", "request"},
    "residency": {"errors"},
    "pipeline": {"errors", "specs", "request", "images", "model"} | _SAMPLING,
    "pnginfo": {"errors", "specs", "registry", "request", "protocol", "settings", "parameters"},
    "history_index": {"errors", "request", "records", "settings"},
    "history": {"errors", "request", "records", "images", "store", "pnginfo", "history_index"},
    "weights": _WORDS | {"checkpoints", "recognise"},
    "backend": _WORDS
    | _NETWORK
    | _SAMPLING
    | _MACHINE
    | {"images", "store", "controls", "metrics", "miniature", "building", "devices"},
    "job": {"request", "protocol"},
    "workers": {"errors", "request", "protocol", "store", "job"},
    "picture_folders": {"errors"},
    "trainings": _WORDS | {"weights", "picture_folders"},
    "jobs": _WORDS | {"images", "store", "controls", "pnginfo", "history", "job", "workers"},
    "miniature": _WORDS | {"images", "tensors", "codec", "samplers", "controls", "devices"},
    "training": _WORDS
    | _NETWORK
    | (_SAMPLING - {"pipeline"})
    | {"images", "controls", "miniature", "devices", "weights", "recognise"},
    "evaluation": _WORDS
    | _NETWORK
    | _SAMPLING
    | {"images", "controls", "metrics", "miniature", "training", "jobs", "generate", "benchmark", "devices"},
    "hint_pictures": _WORDS | {"jobs", "generate"},
    "running": set(),
    "load_test": {"text", "running"},
    "doctor": _WORDS | _MACHINE,
    "generate": _WORDS | {"images", "store", "pnginfo", "parameters", "history", "jobs", "backend"},
    "benchmark": _WORDS
    | _NETWORK
    | _SAMPLING
    | {"images", "store", "controls", "weights", "history", "backend", "running", "devices"},
    "ui": _WORDS | {"images", "contact_sheet"},
    "accounts": {"errors", "text"},
    "app": _WORDS | _MACHINE | {"accounts", "ui", "trainings", "jobs", "workers", "backend", "history", "store"},
}

# Parts that hold to the standard library and to each other.
STANDARD_LIBRARY_ONLY = {"text", "hardware", "errors", "specs", "registry", "request", "records", "settings"}
STANDARD_LIBRARY_ONLY |= {"protocol", "parameters", "accounts"}
# Libraries that take seconds to load, and the parts that never touch them.
HEAVY = {"torch", "torchvision", "diffusers", "transformers", "accelerate", "peft", "controlnet_aux"}
WITHOUT_HEAVY = {
    "ui",
    "images",
    "contact_sheet",
    "weights",
    "store",
    "pnginfo",
    "history",
    "history_index",
    "job",
    "workers",
    "jobs",
    "picture_folders",
    "trainings",
}
WITH_GRADIO = {"ui", "app", "load_test"}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
# They read from top to bottom, and are whole on purpose.
LONG_FUNCTIONS = {"cnxs/model.py": {"forward", "__call__"}, "cnxs/pipeline.py": {"denoise"}}
# The job worker's loop and the page's edge live on after any error.
BROAD_EXCEPTS = {"cnxs/workers.py", "cnxs/ui/edge.py"}

# A tag or an attribute, or what an f-string leaves of one.
MARKUP = re.compile(r'<[^<>]*(>|$)|^[^<>]*>|[\w-]+="[^"]*("|$)')
# Names in a row, for `split`.
NAMES = re.compile(r"[a-z_ ]*_[a-z_ ]*")

each_module = pytest.mark.parametrize("module", MODULES)


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


def part_of(module: str) -> str:
    """Return the second name of a module of ours ("cnxs.ui.form": "ui"), the first of any other."""
    names = module.split(".")
    return names[1] if names[0] == "cnxs" and len(names) > 1 else names[0]


def imports_of(node: ast.AST) -> Iterator[str]:
    """Yield the full name of every module imported anywhere under `node`, inside functions as well."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"relative import in line {child.lineno}"
            names = [f"{child.module}.{alias.name}" for alias in child.names]
            yield from (name if name in MODULES else child.module for name in names)


def without_type_checking(tree: ast.Module) -> ast.Module:
    def is_guard(node: ast.stmt) -> bool:
        return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"

    return ast.Module(body=[node for node in tree.body if not is_guard(node)], type_ignores=[])


def test_every_part_is_in_the_table() -> None:
    assert {part_of(module) for module in MODULES} - {"cnxs"} <= set(ARROWS)
    assert {arrow for arrows in ARROWS.values() for arrow in arrows} <= set(ARROWS)
    assert not any("ui" in arrows for part, arrows in ARROWS.items() if part != "app")


@each_module
def test_imports_follow_the_arrows(module: str) -> None:
    part = part_of(module)
    used = {part_of(name) for name in imports_of(tree_of(module)) if name.split(".")[0] in ("cnxs", "app")}
    assert used - {part, "cnxs"} <= ARROWS.get(part, set()), f"{module} imports {sorted(used - ARROWS[part])}"


@each_module
def test_libraries_stay_where_they_belong(module: str) -> None:
    part = part_of(module)
    used = {name.split(".")[0] for name in imports_of(without_type_checking(tree_of(module)))} - {"cnxs"}
    if part in STANDARD_LIBRARY_ONLY | {"cnxs"}:
        assert used <= sys.stdlib_module_names
    if part in WITHOUT_HEAVY:
        assert not used & HEAVY
    if part not in WITH_GRADIO:
        assert not used & {"gradio", "gradio_client"}


def test_no_two_modules_import_each_other() -> None:
    waiting = {
        module: set(imports_of(without_type_checking(tree_of(module)))) & set(MODULES) - {module, "cnxs"}
        for module in MODULES
    }
    while free := [module for module, names in waiting.items() if not names & waiting.keys()]:
        for module in free:
            del waiting[module]
    assert not waiting, f"a circle among {sorted(waiting)}"


def loaded_by(*modules: str) -> set[str]:
    """Return the top-level packages, ours and the standard library apart, that importing `modules` loads."""
    script = (
        "import sys; before = set(sys.modules)\n"
        f"import {', '.join(modules)}\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names - {'cnxs'})"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_vocabulary_loads_the_standard_library_only() -> None:
    parts = sorted(f"cnxs.{part}" for part in STANDARD_LIBRARY_ONLY if f"cnxs.{part}" in MODULES)
    assert loaded_by("cnxs", *parts) == set()


def test_the_page_loads_neither_torch_nor_diffusers() -> None:
    parts = sorted(module for module in MODULES if part_of(module) == "ui")
    assert not loaded_by("cnxs", *parts) & HEAVY


@each_module
def test_files_and_functions_stay_short(module: str) -> None:
    path = MODULES[module]
    name = path.relative_to(ROOT).as_posix()
    assert len(path.read_text("utf-8").splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(tree_of(module)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name not in LONG_FUNCTIONS.get(name, ()):
            assert length(node) <= MAX_FUNCTION_LINES, f"{name}:{node.lineno} {node.name} has {length(node)} lines"


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count a function's lines from `def` to its end, its docstring apart."""
    first = function.body[0]
    words = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) else 0
    return function.end_lineno - function.lineno + 1 - words


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.name)
def test_test_files_stay_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= MAX_FILE_LINES


def broad_excepts(module: str) -> list[int]:
    """Return the lines of the handlers that swallow every error. One that ends in `raise` swallows none."""
    return [
        node.lineno
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        and not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)
    ]


@each_module
def test_only_two_places_catch_everything(module: str) -> None:
    allowed = MODULES[module].relative_to(ROOT).as_posix() in BROAD_EXCEPTS
    assert len(broad_excepts(module)) <= int(allowed), broad_excepts(module)


@each_module
def test_the_device_is_passed_down(module: str) -> None:
    assert ".cuda(" not in MODULES[module].read_text("utf-8")


def sentences(tree: ast.Module) -> Iterator[str]:
    """Yield the literals that look like wording: with a space and over 25 letters; no docstring, markup or script."""
    other = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    scripts = [node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "js"]
    other |= {id(part) for script in scripts for part in ast.walk(script.value)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in other:
            words = MARKUP.sub("", node.value)
            if " " in words and not NAMES.fullmatch(words) and sum(character.isalpha() for character in words) > 25:
                yield node.value


@pytest.mark.parametrize("module", [module for module in MODULES if part_of(module) == "ui"])
def test_the_page_takes_its_words_from_the_wording_file(module: str) -> None:
    assert list(sentences(tree_of(module))) == []
