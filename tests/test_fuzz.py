"""The readers on bent files: in a process of their own, whose memory they may spoil without any other test's being hurt."""

import subprocess
import sys
from pathlib import Path


def test_bent_files_are_read_or_refused_in_one_line():
    bent_files = Path(__file__).with_name("bent_files.py")
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", bent_files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "12 passed" in done.stdout
