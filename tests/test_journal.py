"""The journal of a run: whatever happens to it, no score is lost without a word and no wrong one gets in."""

import os
import random
import shutil
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from iqa.errors import JournalError
from iqa.files import Lock
from iqa.labels.opinions import Prediction
from iqa.scoring.journal import Entry, Journal
from iqa.scoring.salvage import PAGE, read_rows

MODEL = {"weights": "0123"}

#: A journal of some 12 pages.
COUNT = 120


@pytest.fixture
def pictures(tmp_path):
    """Entries of files, which no test here decodes."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(COUNT):
        (folder / f"a picture with a long name {number:04d}.jpg").touch()
    return [Entry(str(path), path) for path in sorted(folder.iterdir())]


def score_of(path):
    """What the "model" says of a picture: its number."""
    return np.float32(int(Path(path).stem[-4:]))


def score(journal, most=COUNT):
    for (position, path), _ in zip(list(journal.waiting()), range(most), strict=False):
        journal.record(
            position, Prediction(np.array([score_of(path)]), warning="flat" if score_of(path) % 7 == 0 else None)
        )


def assert_right(journal):
    """Every score is that of its picture."""
    for entry in journal.entries(scored=True):
        assert entry.output == [score_of(entry.path)]
        assert entry.prediction.warning == ("flat" if score_of(entry.path) % 7 == 0 else None)


@pytest.fixture
def filled(tmp_path, pictures):
    """The path of the journal of a run that scored all but 10 pictures."""
    with Journal(tmp_path / "j", MODEL) as journal:
        list(journal.enter(pictures))
        score(journal, COUNT - 10)
    return tmp_path / "j"


def resume(path, pictures, head=MODEL):
    """Go on with a journal; returns (how many scores it took over, its notes)."""
    with Journal(path, head) as journal:
        list(journal.enter(pictures))
        assert_right(journal)
        taken_over = journal.count()[1]
        score(journal)
        assert journal.count() == (COUNT, COUNT)
        assert_right(journal)
        assert [entry.key for entry in journal.entries()] == [entry.key for entry in pictures]
        return taken_over, journal.notes


def test_a_journal_that_is_whole_is_gone_on_with_and_says_nothing(filled, pictures):
    assert resume(filled, pictures) == (COUNT - 10, [])


@pytest.mark.parametrize("how", ["zeros", "chance", "cut off"])
def test_a_damaged_page_costs_the_scores_on_it_and_no_others(filled, pictures, how):
    content = filled.read_bytes()
    chance = random.Random(0)
    costs = []
    for place in range(0, len(content), PAGE):
        rest = {"zeros": bytes(PAGE), "chance": chance.randbytes(PAGE), "cut off": b""}[how]
        damaged = content[:place] + rest + (content[place + PAGE :] if rest else b"")
        if damaged == content:
            continue
        filled.write_bytes(damaged)
        taken_over, notes = resume(filled, pictures)
        kept = filled.with_name("j.damaged")
        if damaged:
            (note,) = notes
            assert note.startswith(f"{filled} was damaged: what it says of ")
            assert note.endswith("; it is kept as j.damaged")
            assert len(kept.read_bytes()) == len(damaged)
            kept.unlink()
        costs.append(COUNT - 10 - taken_over)
    assert len(costs) > 8
    if how != "cut off":
        assert max(costs) < 40
        assert costs[0] == 0  # the first page holds no scores


def test_flipped_bits_never_change_a_score(filled, pictures):
    content, chance = filled.read_bytes(), random.Random(1)
    for _ in range(25):
        spoilt = bytearray(content)
        for _ in range(4):
            spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
        filled.write_bytes(spoilt)
        taken_over, _ = resume(filled, pictures)
        assert taken_over > COUNT / 2


def test_what_a_kill_left_in_the_log_is_taken_over_too_from_a_damaged_journal(tmp_path, pictures):
    journal = Journal(tmp_path / "j", MODEL)
    list(journal.enter(pictures))
    score(journal, 100)
    killed = tmp_path / "killed"
    killed.mkdir()
    for file in ("j", "j-wal"):
        shutil.copy(tmp_path / file, killed)
    journal.close()
    (killed / "j").write_bytes(b"no database" * 1000)
    assert resume(killed / "j", pictures)[0] == 100
    (killed / "j").unlink()
    for file in ("j.damaged", "j.damaged-wal"):
        os.rename(killed / file, killed / file.replace(".damaged", ""))
    (killed / "j").unlink()  # and if the log alone is left
    assert resume(killed / "j", pictures)[0] == 100


def test_a_kill_while_a_damaged_journal_is_replaced_costs_nothing(filled, pictures, monkeypatch):
    content, replace = filled.read_bytes(), os.replace
    for step in range(6):
        for file in filled.parent.glob("j*"):
            file.unlink()
        filled.write_bytes(content[:PAGE] + bytes(PAGE) + content[2 * PAGE :])
        left = step

        def killed(*names):
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            replace(*names)

        monkeypatch.setattr(os, "replace", killed)
        with suppress(KeyboardInterrupt):
            Journal(filled, MODEL).close()
        monkeypatch.setattr(os, "replace", replace)
        taken_over, _ = resume(filled, pictures)
        assert taken_over >= COUNT - 50
        assert filled.with_name("j.damaged").exists()


def test_the_journal_of_another_model_is_set_aside_and_not_lost(filled, pictures):
    taken_over, (note,) = resume(filled, pictures, {"weights": "4567"})
    assert taken_over == 0
    assert note == f"{filled} is of another model; it is kept as j.other"
    os.replace(filled.with_name("j.other"), filled)
    assert resume(filled, pictures) == (COUNT - 10, [])


def test_a_journal_of_other_pictures_is_set_aside_and_not_lost(filled, pictures, tmp_path):
    (tmp_path / "other 0001.jpg").touch()
    with Journal(filled, MODEL) as journal:
        told = list(journal.enter([Entry("other 0001.jpg", tmp_path / "other 0001.jpg")]))
        assert (str(filled), "it is of other pictures; it is kept as j.other") in told
        assert journal.count() == (1, 0)
    os.replace(filled.with_name("j.other"), filled)
    assert resume(filled, pictures) == (COUNT - 10, [])


def test_a_file_that_is_no_journal_is_set_aside(tmp_path, pictures):
    (tmp_path / "j").write_bytes(b"no database" * 1000)
    assert resume(tmp_path / "j", pictures)[0] == 0
    assert (tmp_path / "j.damaged").read_bytes() == b"no database" * 1000


def test_an_empty_file_is_no_journal_and_nothing_to_keep(tmp_path, pictures):
    (tmp_path / "j").touch()
    assert resume(tmp_path / "j", pictures) == (0, [])


def test_another_runtime_goes_on_and_says_so(filled, pictures):
    Journal(filled, MODEL, "openvino 1").close()
    with Journal(filled, MODEL, "litert 2") as journal:
        assert journal.notes == ["openvino 1 scored so far, litert 2 goes on: their scores may differ by 0.000001"]
        assert journal.runtimes == ["openvino 1", "litert 2"]
    assert resume(filled, pictures)[0] == COUNT - 10


def test_a_picture_that_is_replaced_by_one_of_the_same_size_and_time_is_scored_again(filled, pictures):
    for number, replace in enumerate((os.replace, lambda new, old: Path(old).write_bytes(Path(new).read_bytes()))):
        path = pictures[number].path
        before = path.stat()
        path.with_name("new").write_bytes(path.read_bytes())
        replace(path.with_name("new"), path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        path.with_name("new").unlink(missing_ok=True)
        with Journal(filled, MODEL) as journal:
            assert list(journal.enter(pictures)) == [(pictures[number].key, "changed since it was scored")]
            score(journal)


def test_of_two_starts_at_once_one_runs_and_the_others_are_one_line(tmp_path):
    for _ in range(5):
        start, end, said = threading.Barrier(4), threading.Barrier(4), []

        def begin(start=start, end=end, said=said):
            start.wait()
            try:
                with Journal(tmp_path / "j", MODEL):
                    end.wait()
            except JournalError as error:
                said.append(str(error))
                end.wait()

        threads = [threading.Thread(target=begin) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert said == [f"{tmp_path / 'j'}: another run is writing it"] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


def test_a_lock_is_held_by_one_and_leaves_no_file(tmp_path):
    with Lock(tmp_path / "lock"), pytest.raises(BlockingIOError):
        Lock(tmp_path / "lock")
    assert not (tmp_path / "lock").exists()
    with Lock(tmp_path / "lock"):
        pass


def test_the_journal_of_a_finished_run_that_is_kept_gives_its_scores_to_the_next(filled, pictures, tmp_path):
    with Journal(filled, MODEL) as journal:
        list(journal.enter(pictures))
        score(journal)
        journal.finish(keep=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["j", "pictures"]
    assert filled.stat().st_size < 500 * COUNT
    pictures[5].path.unlink()
    added = pictures[0].path.with_name("a picture before all others 0400.jpg")
    added.touch()
    named = [Entry(str(added), added), *pictures[:5], *pictures[6:]]
    with Journal(filled, MODEL) as journal:
        assert list(journal.enter(named)) == [(pictures[5].key, "no longer named")]
        assert [path for _, path in journal.waiting()] == [added]
        assert [entry.key for entry in journal.entries()] == [entry.key for entry in named]
        journal.finish()
    assert not filled.exists()


def test_labels_may_change_without_a_picture_being_scored_again(filled, pictures):
    labelled = [Entry(entry.key, entry.path, np.array([1.5])) for entry in pictures]
    assert resume(filled, labelled) == (COUNT - 10, [])
    with Journal(filled, MODEL) as journal:
        assert {entry.label_mean for entry in journal.entries()} == {1.5}


def test_a_disk_that_fails_in_the_middle_of_a_run_is_one_line(filled, pictures):
    with Journal(filled, MODEL) as journal:
        list(journal.enter(pictures))
        with open(filled, "r+b") as file:
            file.write(bytes(filled.stat().st_size))
        journal._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        journal._database.execute("PRAGMA shrink_memory")
        with suppress(JournalError):
            list(journal.entries())
            score(journal)
    assert resume(filled, pictures)[0] <= COUNT


@pytest.mark.parametrize("seed", range(30))
def test_whatever_lies_there_is_read_without_an_error(tmp_path, seed):
    chance = random.Random(seed)
    page = bytearray(chance.randbytes(PAGE))
    page[0] = 0x0D
    (tmp_path / "j").write_bytes(page)
    list(read_rows(tmp_path / "j"))
