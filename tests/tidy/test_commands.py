"""Every command that a page, a help text or a message names is there, with the options it is given; and none is told nowhere."""

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

from node.cli import application

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = sorted(path for package in ("client", "node", "bridge") for path in (ROOT / package).glob("*.py"))
APP = get_command(application(""))


def commands(group=APP, words=()):
    """(words, command) of each command that does something."""
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


def named(text: str):
    """What follows `chiptrace` in a text: up to the end of the line (its continuation included), a comment or a quote."""
    text = re.sub(r"\\\n\s*", " ", text)
    for found in re.finditer(r"(?:^ *|`|/bin/)chiptrace +([a-z][^`\n#;]*)", text, re.MULTILINE):
        if not re.match(r"[a-z]+ [0-9]", found[1]):  # what a file or a row begins with
            yield found[1].split()


def examples(path: Path):
    """Of a source file: the examples of its docstrings, and what its messages name in backticks."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for found in re.finditer(r"(?:[a-z]: |`)chiptrace ([a-z](?:[^`\n;]|\n(?! *\n))*)", node.value):
                yield found[1].split()


def wrong(words: list[str]) -> str:
    """What of a command line is not there; nothing if all is."""
    readings = [APP]
    rest = list(words)
    while rest and any(hasattr(one, "commands") for one in readings):
        # `epcis check|hash|convert` names three.
        choices = rest[0].strip(",.:()").split("|")
        if not all(re.fullmatch(r"[a-z][a-z-]*", choice) for choice in choices):
            break
        unknown = [choice for choice in choices for group in readings if choice not in group.commands]
        if unknown:
            return f"no command {unknown[0]}"
        readings = [group.commands[choice] for choice in choices for group in readings]
        rest.pop(0)
    known = {
        option for one in readings for param in one.params for option in (*param.opts, *param.secondary_opts)
    }
    given = [word.strip("[]().,:'\"").partition("=")[0] for word in rest]
    unknown = [
        word for word in given if re.fullmatch(r"--?[a-z][a-z-]*", word) and word not in known | {"--help"}
    ]
    return f"{' '.join(words[:2])} has no {unknown[0]}" if unknown else ""


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_a_page_names_is_there(path):
    assert [(words, told) for words in named(path.read_text()) if (told := wrong(words))] == []


def test_what_helps_and_messages_name_is_there():
    found = [(path.name, words) for path in SOURCES for words in examples(path)]
    assert len(found) > 100
    assert [(name, words, told) for name, words in found if (told := wrong(words))] == []


def test_every_command_stands_in_a_page_and_has_an_example():
    lines = [words for path in PAGES for words in named(path.read_text())]
    told = {(*line[:depth], one) for line in lines for depth in range(3) for one in line[depth : depth + 1]}
    told |= {(line[0], one) for line in lines for one in line[1:2] for one in one.split("|")}
    for words, command in commands():
        assert f"Example: chiptrace {' '.join(words)}" in " ".join((command.help or "").split()), words
    assert [words for words, _ in commands() if words not in told] == []


@pytest.mark.parametrize(
    "line", ["recall raech ID", "epcis check|hush", "audit ID --trusst x", "testnet up --chain a"]
)
def test_what_is_not_there_is_found(line):
    assert wrong(line.split())
