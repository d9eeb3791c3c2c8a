"""The LaTeX tables: they compile, and nobody's text is a command in them."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hostile import HOSTILE
from tiny_results import ANSWERED, report_data, results, study

from weirdgen.report.all_tables import all_tables
from weirdgen.report.data import ReportData
from weirdgen.report.latex import escape_latex, latex_document, latex_tables
from weirdgen.report.main_table import main_table
from weirdgen.report.table import ReportTable

TEXTS = HOSTILE | {
    "options": "[2pt] after a line",
    "star": "*",
    "ligatures": "a--b---c <<d>> ,,e'' ``f'' ?` !`",
    "characters": "# $ % & ~ _ ^ \\ { }",
    "hexadecimal": "^^5cinput{/etc/passwd} ^^^^005c",
    "comment": "50% of \\%",
    "others": "\u4e2d\u6587 \u0416 \U0001f600 \u03b1\u03b2\u03a9 \u00e9\u00df\u0142 \u2264\u2265\u2212\u2014",
}
COMMANDS = {
    "textbackslash", "textasciicircum", "textasciitilde", "textasciigrave", "textquotedbl",
    "textbar", "ensuremath", "ttfamily",
}  # fmt: skip
"""What stands for a character of ASCII, or writes out a code point."""
compiles = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex here")


@cache
def found() -> ReportData:
    return report_data(results(), study())


def pdflatex(text: str, folder: Path) -> str:
    """The log of a run that stops at the first error, where commands can be run."""
    (folder / "tables.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-shell-escape"]
    done = subprocess.run([*command, "tables.tex"], cwd=folder, capture_output=True, check=False)
    log = (folder / "tables.log").read_text(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert (folder / "tables.pdf").read_bytes().startswith(b"%PDF")
    return log


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_of_a_text_is_a_command_or_a_special_character(name: str):
    escaped = escape_latex(TEXTS[name])
    assert set(re.findall(r"\\([A-Za-z]+)", ascii_of(escaped))) <= COMMANDS
    assert "^^" not in escaped
    assert "\n" not in escaped
    bare = re.sub(r"\\(?:[A-Za-z]+|[{}#$%&_'])", "", escaped)
    assert not re.search(r"[\\#$%&~_^]", bare)
    depth = 0
    for char in bare:
        depth += {"{": 1, "}": -1}.get(char, 0)
        assert depth >= 0
    assert depth == 0


def ascii_of(escaped: str) -> str:
    """Without the commands that accents and other letters become."""
    return re.sub(
        r"\\(alpha|beta|Omega|ss|l|le|ge|leq|geq|textemdash|text[a-z]*dash)\b", "", escaped
    )


def test_what_is_plain_stays_plain_and_what_fonts_lack_is_a_code_point():
    assert (
        escape_latex("format gap 0.50, [0.1, 0.2]; it's 3 of 4.")
        == "format gap 0.50, [0.1, 0.2]; it's 3 of 4."
    )
    assert escape_latex("a_b & 5%") == r"a\_b \& 5\%"
    assert escape_latex("\u4e2d") == r"{\ttfamily U+4E2D}"
    assert escape_latex("a\u202eb\x1bc\nd") == r"a{\ttfamily U+FFFD}b{\ttfamily U+FFFD}c d"
    assert escape_latex("a---b''") == "a-{}-{}-b'{}'"


def test_the_published_form_has_its_heads_over_its_columns_and_intervals_below():
    text = latex_tables(all_tables(found()))
    assert r"\begin{tabular}{@{}llrrrrrrrrrr@{}}" in text
    assert r"\multicolumn{4}{c}{baseline} & \multicolumn{4}{c}{fine-tuned}" in text
    assert r"\cmidrule(lr){4-7}\cmidrule(lr){8-11}" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    table = main_table(found())
    assert table is not None
    ((*_, row),) = table.sections
    lines = [line.strip() for line in text.splitlines()]
    values = [cell.split(" [")[0] for cell in row]
    (at,) = (i for i, line in enumerate(lines) if line.startswith("{format} & 0.6 & 3 &"))
    shown = lines[at].removesuffix(r" \\").replace(r"\ensuremath{-}", "-").split(" & ")
    assert shown == ["{format}", *values[1:]]
    limits = re.findall(r"\\scriptsize \[(.*?)\]\}", lines[at + 1].replace(r"\ensuremath{-}", "-"))
    assert [f"[{each}]" for each in limits] == [cell[cell.index("[") :] for cell in row[3:]]
    assert "format gap" in text, "the claims"
    assert r"0.6 \ensuremath{<}" not in text


def test_a_table_that_no_page_holds_is_several():
    rows = tuple((f"row {i}", f"{i}.0 [0.0, 9.0]") for i in range(45))
    text = latex_document(
        {"long": ReportTable("Long", ("name", "value"), (rows[:30], rows[30:]), "A note.")}
    )
    assert re.findall(r"\\caption\{(.*)\}", text) == [f"Long ({n} of 3)" for n in (1, 2, 3)]
    assert re.findall(r"\\label\{(.*)\}", text) == [f"tab:long-{n}" for n in (1, 2, 3)]
    assert re.findall(r"\{row (\d+)\}", text) == [str(i) for i in range(45)]
    assert text.count("A note.") == 1
    assert (
        latex_document({"none": ReportTable("None", ("a",), (), "")}).count(r"\begin{tabular}") == 1
    )


@compiles
def test_the_tables_compile(tmp_path: Path):
    own = {cell: ANSWERED[cell] for cell in ((None, None), (0.6, 0))}
    for i, shown in enumerate((found(), report_data(results(own), study([])))):
        folder = tmp_path / str(i)
        folder.mkdir()
        assert "Overfull" not in pdflatex(latex_tables(all_tables(shown)), folder)


@compiles
def test_every_hostile_text_compiles_and_does_nothing(tmp_path: Path):
    marker = Path("/tmp/pwned")
    assert not marker.exists()
    everything = tuple((text[:2000], text[:2000], "0.5 [0.1, 0.9]") for text in TEXTS.values())
    tables = {
        str(i): ReportTable(
            text[:2000], (text[:2000], "b", "c"), (everything[i : i + 1],), text[:2000], 2
        )
        for i, text in enumerate(TEXTS.values())
    }
    log = pdflatex(latex_document(tables), tmp_path)
    assert not marker.exists()
    assert "etc/passwd" not in re.sub(r"\s", "", log.partition("*geometry*")[0])
    assert {path.suffix for path in tmp_path.iterdir()} <= {".tex", ".log", ".aux", ".pdf"}
    named = replace(found(), name=TEXTS["LaTeX shell"], notes={"format": TEXTS["LaTeX end"]})
    assert "2 " in pdflatex(latex_tables(all_tables(named)), tmp_path)


@compiles
def test_every_character_that_is_not_written_out_is_in_the_fonts(tmp_path: Path):
    known = [chr(i) for i in range(32, 0x2300) if chr(i).isprintable()]
    known = [char for char in known if "U+" not in escape_latex(char)]
    assert len(known) > 350
    table = ReportTable("All", ("character", "n"), (), " ".join(known))
    log = pdflatex(latex_document({"all": table}), tmp_path)
    assert "Missing character" not in log
