"""Batches of tiny pictures."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_training import SIZE, make_ladders, see

from iqa.errors import ImageError
from iqa.images.geometry import random_patch
from iqa.images.reading import read_image
from iqa.labels.ratings import RatedImage
from iqa.training.batches import Evaluation, Ladders, Photographs
from iqa.training.usable import fingerprint, split_usable, usable_ladders


@pytest.fixture(scope="module")
def ladders(tmp_path_factory):
    return make_ladders(tmp_path_factory.mktemp("ladders"))


def test_a_batch_holds_whole_ladders_cut_alike_with_their_labels(ladders):
    pixels, mos = Ladders(ladders, batch_size=12, patch_size=SIZE, seed=1)[0]
    assert (pixels.shape, pixels.dtype) == ((10, SIZE, SIZE, 3), np.uint8)
    np.testing.assert_array_equal(mos[:, 0], [6, 5, 4, 3, 2] * 2)
    steps = np.diff(pixels.reshape(2, 5, -1).astype(int), axis=1)
    assert (steps == 30).all()


def test_patches_of_a_ladder_keep_to_the_blocks_asked_for(ladders):
    picture = read_image(ladders[0][0].path)  # of 12x14 pixels
    on_blocks = [picture[top : top + SIZE, left : left + SIZE] for top in (0, 4) for left in (0, 4)]
    expected = {np.ascontiguousarray(patch[:, ::step]).tobytes() for patch in on_blocks for step in (1, -1)}
    data = Ladders(ladders[:1], batch_size=5, patch_size=SIZE, seed=1, multiple=4)
    seen = set()
    for _ in range(40):
        seen.add(data[0][0][0].tobytes())
        data.on_epoch_end()
    assert seen <= expected
    assert len(seen) > len(expected) / 2


def test_an_epoch_shows_every_ladder_once_and_the_next_in_another_order(ladders):
    marked = [[replace(image, mos=image.mos + number / 100) for image in ladder] for number, ladder in enumerate(ladders)]
    data = Ladders(marked, batch_size=10, patch_size=SIZE, seed=1)

    def seen():
        return np.concatenate([data[index][1] for index in range(len(data))])[::5, 0].tolist()

    first = seen()
    data.on_epoch_end()
    assert sorted(first) == sorted(seen()) == pytest.approx([6 + number / 100 for number in range(6)])
    assert first != seen()


def test_batches_depend_on_seed_and_epoch_alone(ladders):
    one, two = (Ladders(ladders, 10, SIZE, seed=3) for _ in range(2))
    two[2]
    np.testing.assert_array_equal(one[1][0], two[1][0])
    one.epoch = two.epoch = 4
    np.testing.assert_array_equal(one[0][0], two[0][0])
    assert not np.array_equal(one[0][0], Ladders(ladders, 10, SIZE, seed=4)[0][0])


def test_evaluation_sees_all_centres_in_order(ladders):
    images = [image for ladder in ladders for image in ladder][:7]
    data = Evaluation(images, 3, see)
    pixels = np.concatenate([data[i][0] for i in range(len(data))])
    assert len(pixels) == 7
    np.testing.assert_array_equal(pixels[6], read_image(images[6].path)[2:10, 3:11])


def test_photographs_are_all_seen_once_an_epoch_with_their_labels(ladders):
    images = [image for ladder in ladders for image in ladder]
    data = Photographs(images, 7, lambda pixels, rng: random_patch(pixels, SIZE, rng), seed=1)
    batches = [data[index] for index in range(len(data))]
    assert [len(pixels) for pixels, _ in batches] == [7, 7, 7, 7, 2]
    labels = np.concatenate([labels for _, labels in batches])
    assert (labels.shape, labels.dtype) == ((30, 1), np.float32)
    assert sorted(labels[:, 0]) == sorted(image.mos for image in images)
    data.epoch = 1
    assert not np.array_equal(data[0][1], batches[0][1])


def test_unusable_images_are_named_once_and_remembered(ladders, tmp_path, monkeypatch):
    (tmp_path / "bad.png").write_bytes(b"x")
    votes = (0.1,) * 10
    good = RatedImage("good", votes, ladders[0][0].path)
    images = [good, RatedImage("bad", votes, tmp_path / "bad.png"), RatedImage("missing", votes)]
    memory = tmp_path / "memory.json"
    for _ in range(2):
        kept, refused = split_usable(images, memory=memory)
        assert kept == [good]
        assert [name for name, _ in refused] == ["bad", "missing"]
        monkeypatch.setattr("iqa.training.usable.read_image", None)  # the second time nothing is decoded
    assert split_usable([good], smallest=13, memory=memory)[1] == [
        ("good", "its shorter side has 12 pixels, and at least 13 are needed")
    ]


@pytest.mark.parametrize("spoilt", ["{", "[]", "null"])
def test_a_memory_that_cannot_be_read_costs_a_second_look_and_no_more(ladders, tmp_path, spoilt):
    (tmp_path / "memory.json").write_text(spoilt)
    assert split_usable(ladders[0], memory=tmp_path / "memory.json") == (ladders[0], [])


def test_a_ladder_with_an_unusable_image_is_left_out_by_name(tmp_path, capsys):
    ladders = make_ladders(tmp_path, scenes=3)
    ladders[1][3].path.write_bytes(b"")
    assert usable_ladders(ladders, SIZE, tmp_path / "memory.json") == ([ladders[0], ladders[2]], 1)
    err = capsys.readouterr().err
    assert "s1_01_4: the file is empty" in err
    assert "1 of 15 images cannot be used" in err
    assert "left out, incomplete: s1_01_1, s1_01_2, s1_01_3, s1_01_4, s1_01_5" in err


def test_a_fingerprint_tells_other_images_labels_and_orders_apart(ladders):
    images = ladders[0]
    others = [images[:4], images[::-1], [replace(image, mos=image.mos + 1e-9) for image in images]]
    assert fingerprint(images) == fingerprint([replace(image, path=None) for image in images])
    assert len({fingerprint(other) for other in (images, *others)}) == 4


@pytest.mark.parametrize("kind", ["ladders", "photographs", "evaluation"])
def test_a_broken_image_is_named_by_the_batch_that_needs_it(tmp_path, kind):
    ladders = make_ladders(tmp_path, scenes=2)
    ladders[1][2].path.write_bytes(b"no picture")
    images = [image for ladder in ladders for image in ladder]
    data = {
        "ladders": lambda: Ladders(ladders, 5, SIZE),
        "photographs": lambda: Photographs(images, 5, lambda pixels, rng: random_patch(pixels, SIZE, rng)),
        "evaluation": lambda: Evaluation(images, 5, see),
    }[kind]()
    with pytest.raises(ImageError, match=r"s1_01_3\.png: it is not an image"):
        for index in range(len(data)):
            data[index]


def test_an_image_that_is_too_small_for_a_patch_is_named_by_its_batch(tmp_path):
    ladders = make_ladders(tmp_path, scenes=1)
    with pytest.raises(ImageError, match=r"s0_01_1\.png: 14x12 pixels are fewer"):
        Ladders(ladders, 5, 13)[0]


def test_the_rest_of_an_epoch_is_its_last_batches(ladders):
    images = [image for ladder in ladders for image in ladder]
    data = Photographs(images, 8, lambda pixels, rng: random_patch(pixels, SIZE, rng), seed=1)
    whole = [data[index] for index in range(len(data))]
    with data.beginning_at(2):
        rest = [data[index] for index in range(len(data))]
    assert len(rest) == 2
    for ours, theirs in zip(rest, whole[2:], strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
    assert len(data) == 4


def test_several_patches_of_a_picture_come_one_after_the_other_with_its_label(ladders):
    pixels, mos = Ladders(ladders, batch_size=30, patch_size=SIZE, seed=1, patches=3)[0]
    assert pixels.shape == (30, SIZE, SIZE, 3)
    np.testing.assert_array_equal(mos[:, 0], np.repeat([6, 5, 4, 3, 2] * 2, 3))
    by_picture = pixels.reshape(2, 5, 3, -1).astype(int)
    assert (np.diff(by_picture, axis=1) == 30).all()  # each patch lies at the same place in all levels
    assert (by_picture[:, :, 0] != by_picture[:, :, 1]).any()

    images = ladders[0][:2]
    pixels, mos = Evaluation(images, 2, lambda path: np.concatenate([see(path), see(path)[:, ::-1]]))[0]
    np.testing.assert_array_equal(mos[:, 0], [6, 6, 5, 5])
    np.testing.assert_array_equal(pixels[1], pixels[0][::-1])


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 2, 0], [0, 0, 1, 3]])
def test_a_batch_is_the_same_in_whatever_order_batches_are_asked_for(ladders, order):
    images = [image for ladder in ladders for image in ladder]

    def data():
        return Photographs(images, 8, lambda pixels, rng: random_patch(pixels, SIZE, rng), seed=1)

    alone = {index: data()[index] for index in set(order)}
    together = data()
    for index in order:
        for one, other in zip(alone[index], together[index], strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_next_batch_is_decoded_ahead_but_only_if_batches_are_asked_for_in_order(ladders):
    images = [image for ladder in ladders for image in ladder]
    decoded = []
    data = Evaluation(images, 5, lambda path: decoded.append(1) or see(path))
    for index in range(len(data)):
        data[index]
    assert len(decoded) == len(images)
    decoded.clear()
    for index in (4, 2, 5, 1):
        data[index]
    assert len(decoded) == 20


def test_mirrored_batches_are_pairs_of_a_picture_and_its_mirror_image(ladders):
    images = [image for ladder in ladders for image in ladder]
    data = Photographs(images, 8, lambda pixels, rng: random_patch(pixels, SIZE, rng), seed=1, mirrored=True)
    pixels, labels = data[0]
    assert len(pixels) == 8
    np.testing.assert_array_equal(pixels[1::2], pixels[::2, :, ::-1])
    np.testing.assert_array_equal(labels[1::2], labels[::2])
    assert sum(len(data[index][1]) for index in range(len(data))) == 2 * len(images)
