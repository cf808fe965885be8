"""What is said, and where it can be said: on any terminal, in any encoding, and where nobody listens any more."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from client import console, governance_file
from client.console import EXIT_PROBLEM, OUT, plain, print_document, print_json, without_traceback
from ledger.errors import Malformed
from proto.chiptrace.v1.ledger_pb2 import Change, PutMember

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from client.console import ERR, OUT, print_json, without_traceback
from ledger.errors import Malformed
import typer

def command(as_json):
    if "wrong" in sys.argv:
        raise Malformed("it is wrong")
    if as_json:
        print_json({"said": "much " * 100})
    else:
        OUT.print("\\u2713 caf\\u00e9")

app = typer.Typer()
@app.command()
@without_traceback
def run(words: list[str], as_json: bool = False):
    command(as_json)
app()
"""


def ran(*words, out=subprocess.PIPE, err=subprocess.PIPE, encoding="utf-8"):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "say", *words],
        cwd=ROOT,
        stdout=out,
        stderr=err,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=False,
    )


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_a_letter_that_a_terminal_does_not_have_is_written_out(encoding):
    done = ran(encoding=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == "✓ café\n".encode(encoding, "backslashreplace")


def gone():
    """The end of a pipe that nobody reads."""
    reads, writes = os.pipe()
    os.close(reads)
    return writes


@pytest.mark.parametrize("nobody", [gone, lambda: os.open("/dev/full", os.O_WRONLY)])
@pytest.mark.parametrize("words", [(), ("--as-json",), ("wrong",), ("wrong", "--as-json")])
def test_where_nobody_can_be_told_the_exit_code_does(nobody, words):
    """Never 1, which says findings, nor 0, and no traceback."""
    end = nobody()
    try:
        done = ran(*words, out=end)
        assert done.returncode == EXIT_PROBLEM
        assert b"Traceback" not in done.stderr
        assert b"Exception" not in done.stderr
        if "wrong" in words:
            assert b"it is wrong" in done.stderr
        assert ran(*words, out=end, err=end).returncode == EXIT_PROBLEM
    finally:
        os.close(end)


def test_without_standard_error(monkeypatch):
    @without_traceback
    def wrong():
        raise Malformed("it is wrong")

    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(typer.Exit) as ended:
        wrong()
    assert ended.value.exit_code == EXIT_PROBLEM


def said(monkeypatch, say):
    text = io.StringIO()
    monkeypatch.setattr(sys, "stdout", text)
    say()
    return text.getvalue()


# What hostile names hold: escape sequences of 7 and 8 bits, an order turned round, a line's end, markup, a link.
HOSTILE = (
    "\x1b[2J",
    "\x9b2J",
    "\x7f",
    "\u202egod",
    "\u2028",
    "\r",
    "[red]",
    "[link=https://a.b]x[/]",
    "\\",
    "\\[/]",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_have_no_effect(monkeypatch, name):
    shown = said(monkeypatch, lambda: OUT.print(f"[bold]{plain(name)}[/] end"))
    assert shown == f"{console.visible(name)} end\n"
    assert shown[:-1].isprintable()


@given(st.text(max_size=20))
def test_a_document_is_the_same_in_ascii(text):
    document = json.dumps({text: [text, "\x7f"]}, ensure_ascii=False, indent=1) + "\n"
    with pytest.MonkeyPatch.context() as patch:
        shown = said(patch, lambda: print_document(document))
    assert shown.isascii()
    assert shown.replace("\n", "").isprintable()
    assert json.loads(shown) == json.loads(document)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_in_documents_and_change_files_have_no_effect(monkeypatch, tmp_path, name):
    shown = said(monkeypatch, lambda: print_document(json.dumps(name, ensure_ascii=False)))
    assert shown.isprintable()
    change = Change(put_member=PutMember(id="ada", name=name))
    written = governance_file.section(change)
    assert written.replace("\n", "").isprintable()
    (tmp_path / "change.toml").write_text(written)
    assert governance_file.read(tmp_path / "change.toml") == [change]


def test_json_is_one_line(monkeypatch):
    assert said(monkeypatch, lambda: print_json({"a": "é\n"})) == '{"a": "\\u00e9\\n"}\n'
