"""Taste as failing tests: length, documentation and place of each file and function."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ledger", "consensus", "bridge", "client", "node")
FILES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))
PURE = [path for path in FILES if path.parent.name in {"ledger", "consensus", "bridge"}]
BANNED_NAMES = re.compile(r"^(common|utils?|helpers?|managers?|misc|base)$")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_look_at():
    assert len(FILES) > 30


@pytest.mark.parametrize("path", FILES + SCRIPTS, ids=name_of)
def test_a_file_is_short_and_says_what_it_is(path):
    text = path.read_text()
    assert text.count("\n") <= FILE_LINES_MAX
    assert ast.get_docstring(ast.parse(text)), "every file begins with what it is"
    assert not BANNED_NAMES.match(path.stem)


@pytest.mark.parametrize("path", FILES + SCRIPTS, ids=name_of)
def test_functions_are_short(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 <= FUNCTION_LINES_MAX, node.name


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_public_names_are_documented(path):
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if not isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        ) or node.name.startswith("_"):
            continue
        assert ast.get_docstring(node), f"{node.name} has no docstring"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_init_files_hold_a_docstring_only(path):
    if path.name == "__init__.py":
        assert len(ast.parse(path.read_text()).body) == 1


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_assert_and_no_left_over_marks_in_the_product(path):
    text = path.read_text()
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(text))), (
        "python -O drops asserts"
    )
    assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", text)


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_executed_code_knows_no_float(path):
    for node in ast.walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float))
        assert not (isinstance(node, ast.Name) and node.id == "float")
        assert not (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_reading_order_names_every_file(package):
    order = (ROOT / package / "__init__.py").read_text()
    for path in (ROOT / package).glob("*.py"):
        if path.name != "__init__.py":
            assert re.search(rf"\b{path.stem}\b", order), (
                f"{path.stem} has no place in {package}'s reading order"
            )


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_used(package):
    sources = [path.read_text() for path in (*FILES, *SCRIPTS)] + [(ROOT / "pyproject.toml").read_text()]
    for path in (ROOT / package).glob("*.py"):
        if path.name == "__init__.py":
            continue
        pattern = rf"\b{package}\.{path.stem}\b|from {package} import [^\n]*\b{path.stem}\b|\b{path.stem},$"
        named = (text for text in sources if path.stem in text)
        assert any(re.search(pattern, text, re.MULTILINE) for text in named), (
            f"nobody imports {package}.{path.stem}"
        )


def test_no_index_address_and_no_path_of_one_machine():
    banned = re.compile(
        r"index[-]url|https?://[a-z0-9.-]*(pypi|pythonhosted|npmjs|crates)|(^|[^a-z.\w])/(work|root)/"
    )
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    paths = [ROOT / name for name in listed.splitlines()]
    assert len(paths) > 100
    for path in paths:
        if path != Path(__file__) and path.exists():
            assert not banned.search(path.read_text(errors="ignore")), name_of(path)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_reading_order_is_the_one_that_is_enforced(package):
    told = (ROOT / package / "__init__.py").read_text().split("before it:")[1].split(".")[0]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (enforced,) = (contract["layers"] for contract in contracts if contract.get("containers") == [package])
    assert re.findall(r"\w+", told) == enforced[::-1]
