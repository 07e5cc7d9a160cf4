"""What this process may use: processors, and where compiled networks are kept."""

import os

import pytest

from iqa import environment
from iqa.environment import cache_folder, processors, versions


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
        (8, {"cpu.max": "200000 100000\n"}, 2),
        (8, {"cpu.max": "150000 100000\n"}, 2),  # one and a half: two that wait now and then
        (8, {"cpu.max": "10000 100000\n"}, 1),
        (2, {"cpu.max": "600000 100000\n"}, 2),
        (8, {"cpu.max": "gibberish"}, 8),
        (8, {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        (8, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ],
)
def test_processors_are_those_that_affinity_and_quota_allow(cgroup, affinity, files, expected):
    cgroup(affinity, files)
    assert processors() == expected


def test_without_affinity_the_machine_is_counted(cgroup, monkeypatch):
    cgroup(8, {"cpu.max": "400000 100000"})
    monkeypatch.delattr(os, "sched_getaffinity")
    assert processors() == 4


def test_the_cache_is_where_the_user_says_or_in_the_users_folder_of_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("IQA_CACHE", "~/mine")
    assert cache_folder().name == "mine" and cache_folder().is_absolute()
    monkeypatch.delenv("IQA_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "image-quality-assessment"


def test_versions_are_those_of_what_is_installed():
    assert set(versions(["numpy", "no-such-package"])) == {"numpy"}
