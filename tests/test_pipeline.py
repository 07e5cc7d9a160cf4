"""Batches of tiny pictures."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tiny_training import SIZE, cut_of, make_ladders, see

from iqa.cards import Preprocessing
from iqa.commands.train import fingerprint
from iqa.errors import ImageError
from iqa.images.finding import usable_images
from iqa.images.geometry import Geometry
from iqa.images.reading import read_image
from iqa.labels.ratings import RatedImage
from iqa.training.batches import Evaluation, Ladders, Photographs
from iqa.training.cache import Resized
from iqa.training.trainer import decay_over

cut = cut_of(SIZE)


@pytest.fixture(scope="module")
def ladders(tmp_path_factory):
    return make_ladders(tmp_path_factory.mktemp("ladders"))


@pytest.fixture(scope="module")
def images(ladders):
    return [image for ladder in ladders for image in ladder]


def epochs(data, *numbers):
    """All batches of some epochs, as bytes and labels."""
    found = []
    for data.epoch in numbers:
        found += [(pixels.tobytes(), labels.tolist()) for pixels, labels in (data[index] for index in range(len(data)))]
    return found


@pytest.fixture(scope="module", params=["photographs", "ladders", "evaluation"])
def make(request, ladders, images):
    return {
        "photographs": lambda seed=3, workers=0: Photographs(images, 4, cut, seed, patches=2, workers=workers),
        "ladders": lambda seed=3, workers=0: Ladders(ladders, 5, cut, seed, workers=workers),
        "evaluation": lambda seed=3, workers=0: Evaluation(images, 7, see, workers=workers),
    }[request.param]


@pytest.mark.parametrize("make, workers", [("photographs", 1), ("photographs", 2), ("ladders", 2)], indirect=["make"])
def test_batches_are_the_same_with_any_number_of_workers(make, workers):
    data = make(workers=workers)
    try:
        assert epochs(data, 0, 1) == epochs(make(), 0, 1)
    finally:
        data.close()


def test_batches_are_the_same_alone_in_any_order_and_from_any_step(make):
    whole, data = epochs(make(), 0, 1, 2), make()
    for place in (0, 2, 1, 1, 3, 4, 5, 0, len(data), len(whole) - 1):
        data.epoch, index = divmod(place, len(data))
        pixels, labels = data[index]
        assert (pixels.tobytes(), labels.tolist()) == whole[place]
    for step in range(len(data)):
        data.first = step
        assert epochs(data, 1) == whole[data.steps + step : 2 * data.steps]


def test_a_copy_that_is_read_on_its_own_changes_nothing(make):
    data, whole = make(), epochs(make(), 0, 1)
    assert epochs(data, 0) == whole[: len(data)]
    assert epochs(copy.copy(data), 0, 0) == whole[: len(data)] * 2
    assert epochs(data, 1) == whole[len(data) :]


def test_order_and_cuts_differ_from_epoch_to_epoch_and_seed_to_seed(ladders, images):
    for make in (lambda seed: Photographs(images, 30, cut, seed), lambda seed: Ladders(ladders, 30, cut, seed)):
        seen = [epochs(make(seed), epoch)[0] for seed in (0, 1, 2**70) for epoch in (0, 1)]
        assert len({pixels for pixels, _ in seen}) == 6


@pytest.mark.parametrize("patches", [1, 3])
def test_a_batch_holds_whole_ladders_cut_alike_with_their_labels(ladders, patches):
    pixels, mos = Ladders(ladders, batch_size=12 * patches, cut=cut, seed=1, patches=patches)[0]
    assert (pixels.shape, pixels.dtype) == ((10 * patches, SIZE, SIZE, 3), np.uint8)
    np.testing.assert_array_equal(mos[:, 0], np.repeat([6, 5, 4, 3, 2] * 2, patches))
    by_picture = pixels.reshape(2, 5, patches, -1).astype(int)
    assert (np.diff(by_picture, axis=1) == 30).all()
    assert patches == 1 or (by_picture[:, :, 0] != by_picture[:, :, 1]).any()


def test_an_epoch_shows_every_ladder_and_every_photograph_once(ladders, images):
    marked = [[replace(image, mos=image.mos + number / 100) for image in ladder] for number, ladder in enumerate(ladders)]
    labels = [label for _, batch in epochs(Ladders(marked, 10, cut, seed=1), 0) for label in batch]
    assert sorted(label for (label,) in labels[::5]) == pytest.approx([6 + number / 100 for number in range(6)])
    batches = [batch for _, batch in epochs(Photographs(images, 7, cut, seed=1), 0)]
    assert [len(batch) for batch in batches] == [7, 7, 7, 7, 2]
    assert sorted(label for batch in batches for (label,) in batch) == sorted(image.mos for image in images)


def test_evaluation_sees_all_views_of_all_images_in_order(images):
    data = Evaluation(images[:7], 3, lambda path: np.concatenate([see(path), see(path)[:, ::-1]]))
    pixels, mos = (np.concatenate(parts) for parts in zip(*(data[index] for index in range(len(data))), strict=True))
    np.testing.assert_array_equal(pixels[12], read_image(images[6].path)[2:10, 3:11])
    np.testing.assert_array_equal(pixels[1::2], pixels[::2, ::-1])
    np.testing.assert_array_equal(mos[:, 0], np.repeat([image.mos for image in images[:7]], 2))


def test_training_sees_the_pixels_that_scoring_sees(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)
    Image.fromarray(pixels).resize((1000, 800)).save(tmp_path / "large.jpg")
    preprocessing = Preprocessing("resize", 32, "bilinear")
    image = RatedImage("large", (0.1,) * 10, tmp_path / "large.jpg")
    ((seen, _),) = Photographs([image], 1, lambda pixels, rng: pixels, read=Resized(32))
    np.testing.assert_array_equal(seen, Geometry(preprocessing).patches(image.path))


@pytest.mark.parametrize("kind, workers", [("ladders", 0), ("photographs", 0), ("evaluation", 0), ("evaluation", 2)])
def test_a_broken_image_is_named_by_the_batch_that_needs_it(tmp_path, kind, workers):
    ladders = make_ladders(tmp_path, scenes=4)
    ladders[3][2].path.write_bytes(b"no picture")
    images = [image for ladder in ladders for image in ladder]
    data = {
        "ladders": lambda: Ladders(ladders, 5, cut, workers=workers),
        "photographs": lambda: Photographs(images, 5, cut, workers=workers),
        "evaluation": lambda: Evaluation(images, 5, see, workers=workers),
    }[kind]()
    with pytest.raises(ImageError, match=r"s3_01_3\.png: it is not an image") as caught:
        epochs(data, 0)
    assert data.failure is caught.value


def test_an_image_that_is_too_small_for_a_patch_is_named_by_its_batch(ladders):
    with pytest.raises(ImageError, match=r"s0_01_1\.png: 14x12 pixels are fewer"):
        Ladders(ladders[:1], 5, cut_of(13))[0]


def test_a_cache_gives_the_same_batches_and_decodes_nothing(images, tmp_path, monkeypatch, capsys):
    def make(size=10, **options):
        return Photographs(images + images[:5], 8, cut, seed=1, read=Resized(size), **options)

    decoded = epochs(make(), 0, 1)
    assert epochs(make(cache=tmp_path, cache_size=20 * 300 / 1e9), 0, 1) == decoded  # 20 of the 30 pictures fit
    assert len(make(cache=tmp_path, workers=2)) == 5
    whole = [file for file in tmp_path.glob("*.u8") if file.stat().st_size == 30 * 300]
    assert len(whole) == 1 and "will have 0.0 GB" in capsys.readouterr().err
    monkeypatch.setattr("iqa.training.cache.read_resized", None)
    assert epochs(make(cache=tmp_path), 0, 1) == decoded
    with pytest.raises(TypeError):  # another size is not taken out of this file
        make(size=9, cache=tmp_path)
    images[0].path.touch()
    with pytest.raises(TypeError):  # nor are other pictures
        make(cache=tmp_path)


def test_a_large_batch_scales_and_warms_up_the_learning_rate():
    rate = decay_over(1e-4, 1000, False, 256)
    assert [float(rate(step)) for step in (0, 250, 500, 900)] == pytest.approx([1e-4, 2.5e-4, 4e-4, 4e-4])
    cosine = decay_over(1e-4, 1000, True, 256)
    assert float(cosine(500)) == pytest.approx(4e-4) and float(cosine(1000)) == pytest.approx(0, abs=1e-9)


def test_unusable_images_are_named_and_remembered_where_the_memory_can_be_read(ladders, tmp_path, monkeypatch, capsys):
    (tmp_path / "bad.png").write_bytes(b"x")
    votes, memory = (0.1,) * 10, tmp_path / "memory.json"
    good = RatedImage("good", votes, ladders[0][0].path)
    images = [good, RatedImage("bad", votes, tmp_path / "bad.png"), RatedImage("missing", votes)]
    memory.write_text("{")
    for _ in range(2):
        assert usable_images(images, 1, memory) == [good]
        err = capsys.readouterr().err
        assert "bad: it is not an image" in err and "missing: there is no such file\n2 of 3 images cannot be used" in err
        monkeypatch.setattr("iqa.images.finding.read_image", None)  # the second time nothing is decoded
    assert usable_images([good], 13, memory) == []
    assert "good: its shorter side has 12 pixels, and at least 13 are needed" in capsys.readouterr().err


def test_a_fingerprint_tells_other_images_labels_and_orders_apart(ladders):
    images = ladders[0]
    others = [images[:4], images[::-1], [replace(image, mos=image.mos + 1e-9) for image in images]]
    assert fingerprint(images) == fingerprint([replace(image, path=None) for image in images])
    assert len({fingerprint(other) for other in (images, *others)}) == 4
