"""Fixtures: a photograph that is always there, and the data that only some machines have."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iqa.images import read_image, sample_photograph


@pytest.fixture(scope="session")
def photograph():
    """A 256x256 patch of matplotlib's sample photograph, uint8 RGB, with flat and textured parts."""
    return np.ascontiguousarray(read_image(sample_photograph())[60:316, 130:386])


@pytest.fixture(scope="session")
def shared():
    """The folder of data sets named by IQA_SHARED; tests that need it are skipped without it."""
    folder = os.environ.get("IQA_SHARED")
    if not folder or not Path(folder).is_dir():
        pytest.skip("IQA_SHARED names no folder")
    return Path(folder)


@pytest.fixture
def save(tmp_path):
    """save(name, array or PIL image, **options) -> the path of the file written."""

    def write(name, image, **options):
        path = tmp_path / name
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
        return path

    return write
