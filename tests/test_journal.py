"""The journal of a run: whatever happens to it, no score is lost without a word and no wrong one gets in."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from iqa.errors import JournalError
from iqa.labels.faults import Fault
from iqa.labels.histograms import Score
from iqa.scoring.journal import Journal
from iqa.scoring.results import Result

MODEL = {"weights": "0123"}
COUNT = 40


@pytest.fixture
def pictures(tmp_path):
    """Results of files that wait; no test here decodes them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(COUNT):
        (folder / f"{number:04d}.jpg").touch()
    return [Result(path) for path in sorted(folder.iterdir())]


def result_of(path):
    """What the "model" says of a picture: its number; some are flat, and every tenth is broken."""
    number = int(Path(path).stem)
    if number % 10 == 9:
        return Result(path, error="broken")
    return Result(path, {"mean": float(np.float32(number / 7))}, 3, 4, warning="flat" if number % 7 == 0 else None)


def score(journal, most=COUNT):
    for (position, path), _ in zip(list(journal.waiting()), range(most), strict=False):
        journal.record(position, result_of(path))


@pytest.fixture
def filled(tmp_path, pictures):
    """The path of the journal of a run that scored all but 10 pictures."""
    with Journal(tmp_path / "j", MODEL) as journal:
        list(journal.enter(pictures))
        score(journal, COUNT - 10)
    return tmp_path / "j"


def resume(path, pictures, head=MODEL):
    """Resume a run; returns (how many scores it took over, its notes)."""
    with Journal(path, head) as journal:
        list(journal.enter(pictures))
        taken_over = journal.count()[1]
        score(journal)
        assert list(journal.results()) == [result_of(picture.path) for picture in pictures]
        return taken_over, journal.notes


def test_a_run_is_resumed_and_tries_again_what_could_not_be_scored(filled, pictures):
    assert resume(filled, pictures) == (COUNT - 10 - 3, [])


def test_a_result_comes_back_from_json_to_the_last_bit():
    histogram = np.random.default_rng(0).random(10).astype(np.float32)
    result = Result(
        Path("a.jpg"), {"beauty": Score.of(histogram, "AVA"), "technical": 1 / 3}, 5, 6, None, Fault("blur", 0.7)
    )
    again = Result.from_json("a.jpg", result.to_json())
    assert again.beauty.mean == result.beauty.mean and again.beauty.percentile == result.beauty.percentile
    np.testing.assert_array_equal(again.beauty.histogram, histogram)
    assert (again.technical, again.width, again.fault) == (1 / 3, 5, Fault("blur", 0.7))


def test_what_a_kill_leaves_is_taken_over(tmp_path, pictures):
    journal = Journal(tmp_path / "j", MODEL)
    list(journal.enter(pictures))
    score(journal, 5)
    with pytest.raises(JournalError, match="another run is writing it"):
        Journal(tmp_path / "j", MODEL)
    killed = tmp_path / "killed"  # not closed: what a kill leaves is what lies there now
    killed.mkdir()
    for file in tmp_path.glob("j*"):
        shutil.copy(file, killed)
    journal.close()
    assert resume(killed / "j", pictures) == (5, [])


@pytest.mark.parametrize("how", ["no database", "cut off", "a page of zeros"])
def test_a_journal_that_cannot_be_read_is_renamed_with_one_line_and_its_pictures_are_scored_again(filled, pictures, how):
    content = filled.read_bytes()
    broken = {
        "no database": b"x" * 9000,
        "cut off": content[:5000],
        "a page of zeros": content[:4096] + bytes(4096) + content[8192:],
    }
    filled.write_bytes(broken[how])
    assert resume(filled, pictures) == (
        0,
        [f"{filled} cannot be read, its pictures are scored again; it is kept as j.damaged"],
    )
    assert filled.with_name("j.damaged").read_bytes() == broken[how]


def test_the_journal_of_another_model_is_renamed(filled, pictures):
    assert resume(filled, pictures, {"weights": "4567"}) == (0, [f"{filled} is of another model; it is kept as j.other"])


def test_another_runtime_resumes_and_says_so(filled):
    Journal(filled, MODEL, "openvino 1").close()
    with Journal(filled, MODEL, "litert 2") as journal:
        assert journal.notes == ["openvino 1 scored so far, litert 2 scores the rest: scores may differ by 0.000001"]
        assert journal.runtimes == ["openvino 1", "litert 2"]


def test_a_picture_that_is_replaced_by_one_of_the_same_size_and_time_is_scored_again(filled, pictures):
    path = pictures[0].path
    before = path.stat()
    path.with_name("new").touch()
    os.replace(path.with_name("new"), path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with Journal(filled, MODEL) as journal:
        assert list(journal.enter(pictures)) == [(str(path), "changed since it was scored")]
        assert path in [waiting for _, waiting in journal.waiting()]


def test_what_comes_goes_or_is_named_twice_is_told_and_what_is_gone_keeps_its_score(filled, pictures, tmp_path):
    pictures[1].path.unlink()
    new = Result(tmp_path / "0400.jpg")
    new.path.touch()
    with Journal(filled, MODEL) as journal:
        assert dict(journal.enter([new, *pictures, pictures[2]])) == {
            str(new.path): "new since the run began",
            str(pictures[2].path): "named twice",
        }
        assert next(journal.results()).path == pictures[0].path  # the new one waits
        assert journal.find(pictures[1].path).scores
        assert dict(journal.enter(pictures)) == {str(new.path): "no longer named"}


def test_a_listing_that_finds_nothing_or_fails_forgets_nothing(filled, pictures, tmp_path):
    lost = Result(tmp_path / "folder", error="the folder cannot be read")
    with Journal(filled, MODEL) as journal:
        assert list(journal.enter([])) == []
        assert list(journal.enter([lost], forget=False)) == [(str(lost.path), lost.error)]
        assert list(journal.enter([*pictures[2:], lost])) == [(str(lost.path), "new since the run began")]
        assert journal.count()[0] == COUNT + 1


def test_the_journal_of_a_finished_run_that_is_kept_gives_its_scores_to_the_next(filled, pictures, tmp_path):
    with Journal(filled, MODEL) as journal:
        list(journal.enter(pictures))
        score(journal)
        journal.finish(keep=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["j", "pictures"]
    pictures[5].path.unlink()
    with Journal(filled, MODEL) as journal:
        assert list(journal.enter([*pictures[:5], *pictures[6:]])) == [(str(pictures[5].path), "no longer named")]
        assert {int(path.stem) % 10 for _, path in journal.waiting()} == {9}
        journal.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_a_disk_that_fails_in_the_middle_of_a_run_is_one_line(filled, pictures):
    with Journal(filled, MODEL) as journal:
        list(journal.enter(pictures))
        journal._do("PRAGMA max_page_count = 1")
        with pytest.raises(JournalError, match=r"/j: database or disk is full"):
            for position, path in list(journal.waiting()):
                journal.record(position, Result(path, error="x" * 9000))
