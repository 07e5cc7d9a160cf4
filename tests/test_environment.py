"""What this process may use, and what it keeps off stderr."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from iqa import environment
from iqa.environment import processors, without_greetings
from iqa.errors import ImageError


@pytest.fixture
def cgroup(monkeypatch, tmp_path):
    """cgroup(affinity, **files): a machine of 64 processors on which this process may run on `affinity` of them."""

    def arrange(affinity, files):
        monkeypatch.setattr(os, "cpu_count", lambda: 64)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
        monkeypatch.setattr(environment, "_CGROUP", tmp_path)
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)

    return arrange


@pytest.mark.parametrize(
    ("affinity", "files", "expected"),
    [
        (8, {}, 8),
        (8, {"cpu.max": "max 100000\n"}, 8),
        (8, {"cpu.max": "150000 100000\n"}, 2),  # one and a half: two that wait now and then
        (2, {"cpu.max": "600000 100000\n"}, 2),
        (8, {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        (8, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ],
)
def test_processors_are_those_that_affinity_and_quota_allow(cgroup, affinity, files, expected):
    cgroup(affinity, files)
    assert processors() == expected


# --- greetings --------------------------------------------------------------------------------------------------------

GREETINGS = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"I0000 00:00:1795665641.331512   26929 port.cc:153] oneDNN custom operations are on.\n"
    b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
)


def test_greetings_are_left_out_and_all_other_lines_follow(capfd):
    with without_greetings():
        os.write(2, b"first\n" + GREETINGS + b"last\n")
    assert capfd.readouterr().err == "first\nlast\n"


@pytest.mark.parametrize(("error", "shown"), [(ImageError("ours"), b""), (ValueError("a bug"), GREETINGS)])
def test_greetings_are_shown_if_a_bug_follows(capfd, error, shown):
    with pytest.raises(type(error)), without_greetings():
        os.write(2, GREETINGS)
        raise error
    assert capfd.readouterr().err == shown.decode()


def test_threads_that_keep_greetings_away_at_the_same_time_leave_stderr_as_it_was(capfd):
    def greet(number):
        with without_greetings():
            os.write(2, GREETINGS + b"%d\n" % number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(greet, range(40)))
    os.write(2, b"after\n")
    *lines, last = capfd.readouterr().err.splitlines()
    assert sorted(map(int, lines)) == list(range(40)) and last == "after"
