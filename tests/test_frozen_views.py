"""What frozen layers make of views of photographs, computed once."""

import keras
import numpy as np
import pytest
from PIL import Image

from iqa.errors import ImageError, OutputError, UsageError
from iqa.files import Lock
from iqa.images.geometry import random_patch
from iqa.training.frozen_views import FrozenViews, compute_views, four_views, split
from iqa.training.views_file import check_views_target


def cut(pixels, rng):
    return random_patch(pixels, 32, rng)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    pixels = keras.Input((32, 32, 3))
    middle = keras.layers.Conv2D(4, 3, strides=4, name="middle")(keras.layers.Rescaling(1 / 255)(pixels))
    last = keras.layers.Dense(2, name="last")(keras.layers.GlobalAveragePooling2D()(middle))
    return keras.Model(pixels, last)


@pytest.fixture
def paths(photograph, tmp_path):
    for number in range(20):
        Image.fromarray(np.roll(photograph, 9 * number, axis=1)).save(tmp_path / f"{number}.png")
    return [tmp_path / f"{number}.png" for number in range(20)]


@pytest.fixture
def early(network):
    return split(network, "middle", network.output)[0]


def test_the_two_parts_are_the_whole(network, photograph):
    early, late = split(network, "middle", network.output)
    pixels = four_views(photograph, cut, np.random.default_rng(0))
    np.testing.assert_allclose(late(early(pixels)), network(pixels), atol=1e-6)


def test_layers_that_are_bypassed_do_not_split_a_network():
    pixels = keras.Input((8,))
    first = keras.layers.Dense(8, name="first")(pixels)
    second = keras.layers.Dense(8, name="second")(first)
    model = keras.Model(pixels, keras.layers.Add()([first, second]))
    with pytest.raises(UsageError, match="second: layers behind it see earlier ones"):
        split(model, "second", model.output)


def test_views_are_two_cuts_and_their_mirror_images_the_second_one_moved(photograph):
    first, mirrored, second, moved = four_views(photograph, cut, np.random.default_rng(3))
    np.testing.assert_array_equal(first[:, ::-1], mirrored)
    np.testing.assert_array_equal(second[:-1, ::-1][:, :-1], moved[1:, 1:])
    assert not np.array_equal(first, second)


def test_what_is_in_the_file_is_what_the_layers_make_of_the_views(early, paths, photograph, tmp_path):
    views = compute_views(early, paths, cut, tmp_path / "v.f16", seed=5)
    assert (views.shape, views.dtype) == ((20, 4, 8, 8, 4), np.float16)
    pixels = four_views(np.roll(photograph, 9 * 17, axis=1), cut, np.random.default_rng((5, 17)))
    np.testing.assert_allclose(views[17], early(pixels), atol=2e-3)


def test_a_killed_run_goes_on_and_ends_as_one_that_was_not(early, paths, tmp_path, capsys):
    whole, file = tmp_path / "whole.f16", tmp_path / "v.f16"
    compute_views(early, paths, cut, whole, seed=0)
    compute_views(early, paths, cut, file, seed=0)
    with open(file, "r+b") as opened:
        opened.truncate(11 * 4 * 8 * 8 * 4 * 2 + 100)  # in the middle of a photograph
    capsys.readouterr()
    compute_views(early, paths, cut, file, seed=0)
    assert file.read_bytes() == whole.read_bytes()
    assert " 11/20 " in capsys.readouterr().err
    compute_views(early, paths, cut, file, seed=0)
    assert "11/20" not in capsys.readouterr().err


def test_the_views_of_others_are_not_taken_and_no_file_is_replaced(early, network, paths, tmp_path):
    file = tmp_path / "v.f16"
    compute_views(early, paths, cut, file, seed=0)
    content = file.read_bytes()
    other = keras.models.clone_model(early)
    longer = keras.Model(early.input, keras.layers.ZeroPadding2D()(early.output))
    for change in (
        lambda: compute_views(early, paths[:9], cut, file, seed=0),
        lambda: compute_views(early, paths, cut, file, seed=1),
        lambda: compute_views(early, paths, cut, file, seed=0, about="patches"),
        lambda: compute_views(other, paths, cut, file, seed=0),
        lambda: compute_views(longer, paths, cut, file, seed=0),
        lambda: compute_views(early, paths, cut, paths[0], seed=0),
    ):
        with pytest.raises(OutputError, match="not the views of these photographs"):
            change()
    assert file.read_bytes() == content
    Image.new("RGB", (64, 64)).save(paths[3])
    with pytest.raises(OutputError, match="not the views of these photographs"):
        compute_views(early, paths, cut, file, seed=0)


def test_layers_without_weights_count_too_and_a_file_that_is_too_long_is_no_file_of_views(early, paths, tmp_path):
    clipped = keras.Model(early.input, keras.layers.ReLU(name="clipped")(early.output))
    file = tmp_path / "v.f16"
    compute_views(early, paths, cut, file, seed=0)
    with pytest.raises(OutputError, match="not the views"):
        compute_views(clipped, paths, cut, file, seed=0)
    with open(file, "ab") as opened:
        opened.write(b"more")
    with pytest.raises(OutputError, match="not the views"):
        compute_views(early, paths, cut, file, seed=0)


def test_two_runs_do_not_write_into_one_file(early, paths, tmp_path):
    with Lock(tmp_path / "v.f16.lock"), pytest.raises(OutputError, match="another run is making these views"):
        compute_views(early, paths, cut, tmp_path / "v.f16", seed=0)
    assert compute_views(early, paths, cut, tmp_path / "v.f16", seed=0).shape[0] == 20


def test_neither_an_input_nor_a_strangers_file_becomes_views(early, paths, tmp_path):
    file = tmp_path / "new" / "v.f16"
    check_views_target(file, paths)
    compute_views(early, paths, cut, file, seed=0)
    check_views_target(file, paths)  # an older one
    with pytest.raises(OutputError, match="this file is read"):
        check_views_target(file, [file])
    (tmp_path / "thesis").write_text("years of work")
    with pytest.raises(OutputError, match="thesis: a file of that name exists"):
        check_views_target(tmp_path / "thesis", [])
    (tmp_path / "b.views.json").write_text('{"my": "notes"}')
    with pytest.raises(OutputError, match=r"b\.views\.json: a file of that name exists"):
        check_views_target(tmp_path / "b", [])


def test_a_photograph_that_cannot_be_read_is_named(early, paths, tmp_path):
    paths[4].write_bytes(b"broken")
    with pytest.raises(ImageError, match=r"4\.png: "):
        compute_views(early, paths, cut, tmp_path / "v.f16", seed=0)


def test_batches_are_views_with_the_labels_of_their_photographs():
    views = np.arange(6 * 4, dtype=np.float16).reshape(6, 4, 1)
    rows, labels = np.array([0, 1, 2, 3, 4, 5, 5]), np.array([0, 1, 2, 3, 4, 5, 5], np.float32)[:, None]
    data = FrozenViews(views, rows, labels, batch_size=4, seed=2)
    found, said = map(np.concatenate, zip(*(data[index] for index in range(len(data))), strict=True))
    np.testing.assert_array_equal(found // 4, said)
    np.testing.assert_array_equal(np.sort(said[:, 0]), labels[:, 0])
    before = found
    data.on_epoch_end()
    assert not np.array_equal(np.concatenate([data[index][0] for index in range(len(data))]), before)


def test_pairs_are_a_view_and_its_mirror_image():
    views = np.arange(6 * 4, dtype=np.float16).reshape(6, 4, 1)
    data = FrozenViews(views, np.arange(6), np.zeros((6, 1), np.float32), batch_size=4, mirrored=True)
    assert len(data) == 3
    found = np.concatenate([data[index][0] for index in range(3)]).reshape(6, 2)
    np.testing.assert_array_equal(found[:, 1] - found[:, 0], 1)
    assert set(found[:, 0] % 4) <= {0, 2} and len(set(found[:, 0] // 4)) == 6
