"""What every command rests on: names that are shown and read back, results that take no other file's place, streams."""

import os
import signal
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa.environment import settle_keras
from iqa.errors import OutputError
from iqa.files import MADE_BY, check_target, claim_folder, csv_row, name_to_text, printable, text_to_name

# --- names ----------------------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(codec=None) | st.sampled_from("\\x0aufe5c\n\x1b\u202e\udcff\ud800"), max_size=12)


@given(NAMES)
def test_what_is_shown_is_one_line_without_controls_and_the_same_when_shown_again(name):
    shown = printable(name)
    assert len(shown.splitlines()) <= 1 and not shown.encode("utf-8").count(b"\x1b")
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
    assert printable(shown) == shown


@given(NAMES)
def test_a_name_in_a_table_is_text_from_which_the_name_is_made_again(name):
    text = name_to_text(name)
    text.encode("utf-8")
    assert text_to_name(text) == text_to_name(printable(text)) == name


def test_names_of_every_day_stay_as_they_are():
    for name in ("a b.jpg", "Küche/猫.png", "C:\\Users\\x.jpg", "👩‍👩‍👧.heic", "سلام.jpg"):
        assert printable(name) == name_to_text(name) == name


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "'=", "\uff1d", '"@'])
def test_no_text_of_a_table_is_a_formula_and_a_path_stays_a_path(start):
    row = csv_row({"path": f"{start}1+1.jpg", "error": f"{start}1+1", "mean": -2.5, "label": None})
    assert row == {"path": f"./{start}1+1.jpg", "error": f"'{start}1+1", "mean": -2.5, "label": None}
    assert os.path.normpath(row["path"]) == f"{start}1+1.jpg"


# --- results that take no other file's place -------------------------------------------------------------------------


def ours(path):
    return path.read_text() == "ours"


def test_only_what_is_not_there_or_empty_or_an_older_result_is_written_unless_more_is_asked_for(tmp_path):
    path = tmp_path / "photo.jpg"
    for content in (None, "", "ours"):
        if content is not None:
            path.write_text(content)
        check_target(path, known=ours)
        assert sorted(tmp_path.iterdir()) == ([] if content is None else [path])
    path.write_text("a photograph")
    for known in (None, ours, lambda path: 1 / 0):
        with pytest.raises(OutputError, match=r"photo\.jpg: a file of that name exists.*--overwrite"):
            check_target(path, known=known)
        check_target(path, overwrite=True, known=known)


def test_an_input_is_never_written_over_whatever_it_is_called(tmp_path):
    labels, link = tmp_path / "labels.csv", tmp_path / "link.csv"
    labels.write_text("ours")
    link.symlink_to(labels)
    for path in (labels, link, tmp_path / "." / "labels.csv"):
        with pytest.raises(OutputError, match="an input is never overwritten"):
            check_target(path, overwrite=True, known=ours, inputs=[tmp_path / "other", labels])


def test_what_cannot_be_written_is_told_before_the_work(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason in [
        (tmp_path, "it is a folder"),
        (tmp_path / "no" / "s.csv", "there is no folder"),
        (pipe, "a pipe or a device"),
        (tmp_path / ("n" * 300), "cannot be written"),
        (tmp_path / "a\0b", "cannot be written"),
    ]:
        with pytest.raises(OutputError, match=reason) as error:
            check_target(path, overwrite=True)
        assert str(error.value).isprintable()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_folder_is_filled_by_one_command_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").touch()
    with pytest.raises(OutputError, match=r"photos: the folder holds what make_x did not make"):
        claim_folder(tmp_path / "photos", "make_x")
    for _ in range(2):
        claim_folder(tmp_path / "new/folder", "make_x")
        (tmp_path / "new/folder/a.jpg").touch()
    with pytest.raises(OutputError, match="make_y did not make"):
        claim_folder(tmp_path / "new/folder", "make_y")
    claim_folder(tmp_path / "photos", "make_x", overwrite=True)
    assert (tmp_path / "photos" / MADE_BY).read_text() == "make_x\n"
    with pytest.raises(OutputError, match="cannot be written"):
        claim_folder(tmp_path / "photos/a.jpg", "make_x")


# --- streams --------------------------------------------------------------------------------------------------------

SCRIPT = """
import os, sys
from iqa.commands.terminal import run
from iqa.environment import without_greetings

def main():
    with without_greetings():
        pass
    for number in range(50_000):
        print(number, "\\u00e9\\u732b\\udcff")
        if not number % 10_000:
            print("\\u732b", file=sys.stderr)
    with open(sys.argv[1], "w") as file:
        file.write(f"{file.fileno() > 2}")
    return 1

run(main)
"""


@pytest.fixture
def streams(tmp_path):
    """streams(redirections, **environment) -> (exit code, what the script wrote to its file, all that was printed)."""
    script, done = tmp_path / "script.py", tmp_path / "done"
    script.write_text(SCRIPT)

    def call(redirections, **environment):
        line = f'set -o pipefail; "{sys.executable}" "{script}" "{done}" {redirections}'
        ran = subprocess.run(["bash", "-c", line], capture_output=True, env=os.environ | environment)
        return ran.returncode, done.read_text() if done.exists() else None, ran.stdout + ran.stderr

    return call


@pytest.mark.parametrize("redirections", ["", "<&- >&- 2>&-", "2> >(true)", "> /dev/null 2>/dev/full"])
def test_a_terminal_without_letters_and_a_stream_that_is_closed_or_full_of_messages_end_no_run(streams, redirections):
    code, done, printed = streams(redirections, PYTHONIOENCODING="cp1252")
    assert (code, done) == (1, "True") and b"Traceback" not in printed and b"Exception" not in printed
    assert redirections or b"\\udcff" in printed


def test_a_reader_that_leaves_ends_the_run_without_an_error_and_a_full_disk_with_one(streams):
    code, done, printed = streams("| head -1")
    assert (code, done) == (0, None) and b"Traceback" not in printed and b"Exception" not in printed
    code, done, printed = streams("> /dev/full")
    assert (code, done) == (2, None) and b"script.py: error: [Errno 28]" in printed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_kill_and_a_closed_terminal_leave_no_temporary_folder(tmp_path, number):
    work = "import tempfile, time; from iqa.commands.terminal import run"
    wait = "with tempfile.TemporaryDirectory() as folder: print(flush=True); time.sleep(60)"
    script = f"{work}\ndef main():\n    {wait}\nrun(main)"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(number)
    assert process.returncode == 128 + number and not list(tmp_path.iterdir())


# --- what lies in the folder, and what the machine lacks --------------------------------------------------------------


def test_what_lies_in_the_working_folder_is_not_run(tmp_path):
    for name in ("numpy", "PIL", "argparse", "csv", "json", "typing", "tempfile", "scipy", "tqdm", "matplotlib", "re"):
        (tmp_path / f"{name}.py").write_text("print('a stranger'); raise SystemExit(9)")
    done = subprocess.run([sys.executable, "-m", "iqa", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "stranger" not in done.stdout


def test_keras_runs_on_tensorflow_unless_the_environment_names_another(monkeypatch):
    for named, expected in (("", "tensorflow"), ("jax", "jax")):
        monkeypatch.setenv("KERAS_BACKEND", named)
        if not named:
            monkeypatch.delenv("KERAS_BACKEND")
        settle_keras()
        assert os.environ["KERAS_BACKEND"] == expected


def test_figures_are_drawn_whatever_backend_a_notebook_named(tmp_path):
    backend = "module://no_such.backend"
    draw = "import sys; from iqa.evaluation.plots import draw_ladders as d; d({'a': (['b'], [1])}, sys.argv[1], 'c')"
    environment = os.environ | {"MPLBACKEND": backend}
    done = subprocess.run([sys.executable, "-c", draw, tmp_path / "f.png"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and (tmp_path / "f.png").stat().st_size > 1000
