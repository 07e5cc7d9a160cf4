"""docs/deploy.md: its scripts score as `infer` does, without this project."""

import importlib.util
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from AVA import infer_patches, infer_vanilla
from iqa.images.colour import profile_of_codes
from iqa.images.finding import list_images, sample_photograph
from iqa.images.geometry import resize
from TID2013_regression import infer_regression

specification = importlib.util.spec_from_file_location(
    "deploy", Path(__file__).resolve().parent.parent / "benchmarks/deploy.py"
)
deploy = importlib.util.module_from_spec(specification)
specification.loader.exec_module(deploy)

SCRIPTS = deploy.read_scripts()
INFER = {
    "ava_vanilla": lambda path: infer_vanilla.infer(path).mean,
    "ava_patches": lambda path: infer_patches.infer(path).mean,
    "tid2013_regression": infer_regression.infer,
}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """A folder with the scripts and models of the page."""
    folder = tmp_path_factory.mktemp("models")
    deploy.unpack(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, photograph):
    """Pictures of all the kinds that the page speaks of."""
    folder = tmp_path_factory.mktemp("pictures")
    whole = Image.open(sample_photograph()).convert("RGB")
    turned = Image.Exif()
    turned[0x0112] = 6
    whole.save(folder / "turned.jpg", exif=turned, quality=90)
    whole.convert("L").save(folder / "grey.png")
    whole.quantize(64).save(folder / "palette.png")
    whole.convert("CMYK").save(folder / "cmyk.jpg")
    clear = whole.copy()
    clear.putalpha(Image.linear_gradient("L").resize(whole.size))
    clear.save(folder / "clear.png")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    whole.resize((4200, 2700)).save(folder / "large.jpg", icc_profile=srgb)
    whole.resize((250, 1500)).save(folder / "narrow.jpg")
    display_p3 = profile_of_codes(12, 13, True, print)
    Image.fromarray(photograph).save(folder / "wide.png", icc_profile=display_p3)
    clear = Image.fromarray(np.dstack([photograph, photograph[..., 0]]))
    clear.save(folder / "wide_and_clear.png", icc_profile=display_p3)
    Image.fromarray(photograph[:150]).save(folder / "small.png")
    Image.fromarray(np.full((300, 700, 3), 90, np.uint8)).save(folder / "flat.png")
    return [sample_photograph(), *list_images(folder)]


@pytest.mark.parametrize(("script", "name"), deploy.CALLS)
def test_a_script_of_the_page_scores_as_infer_does(deployed, pictures, script, name):
    expected = [INFER[name](path) for path in pictures]
    np.testing.assert_allclose(deploy.score(deployed, script, name, pictures), expected, rtol=0, atol=1e-4)


def test_the_scripts_of_the_page_use_nothing_of_this_project():
    for name, text in SCRIPTS.items():
        assert not re.search(r"\b(iqa|AVA|TID2013_regression|idealo_comparison)\b", text), name


def test_a_script_for_each_runtime_is_fifteen_lines_of_code():
    short = [name for name in SCRIPTS if name.startswith("score_")]
    assert len(short) == 4
    for name in short:
        assert len([line for line in SCRIPTS[name].splitlines() if line.strip()]) <= 15, name


@pytest.mark.parametrize("shape", [(512, 600), (300, 224), (97, 1000)])
def test_the_resize_of_the_page_is_pillows_to_the_bit(shape, tmp_path):
    file = tmp_path / "resize.py"
    file.write_text(SCRIPTS["resize.py"])
    scope = runpy.run_path(str(file))
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    np.testing.assert_array_equal(scope["resize"](pixels), resize(pixels, 224))
