"""Worker processes: whatever happens to one of them costs one item, and none of them outlives its parent."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from pebble.pool.process import interpreter_shutdown
from stand_in import lost, never_start, prepare, prepare_at_the_second_try, refuse

from iqa.errors import UsageError, WorkerError
from iqa.scoring import workers as module
from iqa.scoring.workers import Workers

ROOT = Path(__file__).resolve().parent.parent
PATHS = os.pathsep.join([str(ROOT), str(ROOT / "tests")])


@pytest.fixture(scope="module")
def workers():
    with Workers(prepare, lost, 2, timeout=1, chunk=4) as workers:
        yield workers


def lives(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_answers_come_in_the_order_of_the_items(workers):
    assert list(workers.map(range(50))) == list(range(50))
    assert len(workers.processes) == 2


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("crash", f"its decoder crashed (signal {signal.SIGSEGV.value})"),
        ("exit", "its decoder crashed (exit code 3)"),
        ("hang", "it took longer than 1 s"),
        pytest.param(
            "memory",
            "it needs more memory than there is",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds it"),
        ),
    ],
)
def test_an_item_that_ends_its_worker_is_lost_and_no_other(workers, what, reason):
    items = [*range(9), what, *range(10, 20)]
    assert list(workers.map(items)) == [*range(9), (what, reason), *range(10, 20)]


def test_workers_that_are_killed_from_outside_cost_nothing(workers):
    answers = workers.map(range(500))
    first, killed = next(answers), workers.processes
    for process in killed:
        os.kill(process, signal.SIGKILL)
    assert [first, *answers] == list(range(500))
    assert set(killed).isdisjoint(workers.processes)


def test_time_in_which_the_run_was_stopped_does_not_count(workers, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=count(0, 60).__next__))
    item = ("once", "hang", tmp_path / "marker")
    assert workers.ask(item, timeout=0.2) == item


def answer_in_a_daemon():
    with Workers(prepare, lost, 1) as workers:
        assert list(workers.map([1, 2])) == [1, 2]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_daemon_may_have_workers(method):
    process = multiprocessing.get_context(method).Process(target=answer_in_a_daemon, daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode == 0


def test_what_is_forked_meanwhile_ends_no_worker(workers):
    answers = workers.map(range(100))
    first, numbers = next(answers), workers.processes
    if not (process := os.fork()):
        try:
            interpreter_shutdown()  # as at its exit
        finally:
            os._exit(0)
    os.waitpid(process, 0)
    assert [first, *answers] == list(range(100)) and set(numbers) <= set(workers.processes)


def test_a_bug_is_raised_as_what_it_is(workers):
    with pytest.raises(ZeroDivisionError, match="a bug") as raised:
        list(workers.map([1, "bug"]))
    assert "stand_in.py" in str(raised.value.__cause__)  # where it is, in the worker


def test_items_are_taken_only_as_they_are_needed(workers):
    taken = []
    answers = workers.map(taken.append(number) or number for number in count())
    assert [next(answers) for _ in range(10)] == list(range(10))
    answers.close()
    assert len(taken) < 60


def test_an_error_while_workers_prepare_ends_the_run():
    with Workers(refuse, lost, 2) as workers, pytest.raises(UsageError, match=r"^no such model$"):
        list(workers.map([1, 2]))


def test_workers_that_cannot_start_are_an_error_and_not_a_million_lost_items(monkeypatch):
    monkeypatch.setattr(module, "TIME_TO_START", 0.2)
    monkeypatch.setattr(module, "STARTS", 2)
    message = r"the workers cannot be started: one did not start within 0\.2 s; --workers 0 does without them"
    with Workers(never_start, lost, 1) as workers, pytest.raises(WorkerError, match=message):
        list(workers.map([1, 2]))


def test_a_worker_that_is_killed_while_it_starts_is_started_again(tmp_path):
    with Workers(partial(prepare_at_the_second_try, tmp_path / "marker"), lost, 1) as workers:
        assert list(workers.map([1, 2])) == [1, 2]


def test_workers_of_a_run_that_fails_are_ended_in_the_middle_of_an_item():
    with pytest.raises(RuntimeError, match="elsewhere"), Workers(prepare, lost, 2) as workers:
        answers = workers.map([1, 2, *["hang"] * 5])
        next(answers)
        processes = workers.processes
        raise RuntimeError("elsewhere")
    assert processes and not any(map(lives, processes))


# --- a parent that is a script of somebody -----------------------------------------------------------------------------

#: It has no `if __name__ == "__main__"`, and what it prints is printed once.
SCRIPT = """
from iqa.scoring.workers import Workers
from stand_in import lost, prepare
print("begins")
with Workers(prepare, lost, 2) as workers:
    answers = workers.map({items})
    print(next(answers), next(answers), *workers.processes, flush=True)
    list(answers)
"""


@pytest.fixture
def start(tmp_path):
    """start(items) -> the process of a script that gives them to workers, its first answers, the numbers of its workers."""
    (tmp_path / "script.py").write_text("")
    for name in ("json", "socket", "types"):  # which a folder of pictures may hold
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    started = []

    def start(items):
        # Elsewhere than the files that must not be imported: those in the folder of a script are its own.
        script = tmp_path / "scripts" / "script.py"
        script.parent.mkdir()
        script.write_text(SCRIPT.format(items=items))
        options = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": PATHS}, "start_new_session": True, "text": True}
        process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        started.append(process)
        assert process.stdout.readline() == "begins\n"
        first, second, *numbers = process.stdout.readline().split()
        return process, (first, second), [int(number) for number in numbers]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_script_needs_no_guard_and_workers_import_nothing_from_the_current_folder(start):
    process, answers, numbers = start("range(9)")
    assert process.communicate() == ("", "") and process.returncode == 0
    assert answers == ("0", "1") and not any(map(lives, numbers))


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(start, sign):
    process, _, numbers = start("[1, 2, 'hang', 'hang']")
    if sign == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, sign)  # as a terminal sends it, to the workers too
    _, complaints = process.communicate(timeout=60)
    wait_until(lambda: not any(map(lives, numbers)))
    assert numbers and complaints.count("Traceback") == (sign == signal.SIGINT)
