import pytest

from iqa import datasets
from iqa.datasets import LabelError, LabelledImage


@pytest.fixture
def labels(tmp_path):
    def write(text):
        path = tmp_path / "mos_with_names.txt"
        path.write_text(text)
        return path

    return write


def test_names_of_either_case_are_read_as_reference_distortion_and_level(labels):
    images = datasets.read_mos(labels("5.5 I01_01_1.bmp\n4.25 i02_11_3.BMP\n"))
    assert images == [LabelledImage("i01", 1, 1, 5.5), LabelledImage("i02", 11, 3, 4.25)]
    assert images[1].name == "i02_11_3"


@pytest.mark.parametrize("line", ["5.5", "x i01_01_1.bmp", "5.5 photo.bmp", "nan i01_01_1.bmp", "9.5 i01_01_1.bmp"])
def test_a_bad_line_is_named(labels, line):
    with pytest.raises(LabelError, match="line 2"):
        datasets.read_mos(labels(f"5 i01_01_2.bmp\n{line}\n"))


def test_an_image_labelled_twice_is_refused(labels):
    with pytest.raises(LabelError, match="i01_01_1 stands twice"):
        datasets.read_mos(labels("5 i01_01_1.bmp\n4 I01_01_1.BMP\n"))


def test_files_are_found_whatever_their_case_suffix_and_folder(labels, tmp_path):
    (tmp_path / "distorted_images").mkdir()
    for name in ("I01_01_1.BMP", "distorted_images/i01_01_2.png", "reference.bmp"):
        (tmp_path / name).touch()
    images = datasets.read_mos(labels("5 i01_01_1.bmp\n5 I01_01_2.bmp\n5 i01_01_3.bmp\n"))
    assert [image.path and image.path.name for image in datasets.locate(images, tmp_path)] == [
        "I01_01_1.BMP",
        "i01_01_2.png",
        None,
    ]


def test_the_published_file_splits_into_360_and_2640_images_that_share_no_scene(shared):
    images = datasets.read_mos(shared / "tid2013/mos_with_names.txt")
    train, test = datasets.split_by_reference(images)
    assert (len(train), len(test)) == (2640, 360)
    assert not {image.reference for image in train} & {image.reference for image in test}


def test_ladders_are_whole_and_rise(labels):
    rows = [f"5 i{r:02d}_03_{level}.bmp" for r in (1, 2) for level in (3, 1, 2, 5, 4)]
    complete, incomplete = datasets.ladders(datasets.read_mos(labels("\n".join(rows[:-1]))))
    assert [[image.level for image in ladder] for ladder in complete] == [[1, 2, 3, 4, 5]]
    assert [len(ladder) for ladder in incomplete] == [4]


def test_the_typical_score_is_the_mean_over_scenes(labels):
    rows = [f"{r + level / 10} i{r:02d}_07_{level}.bmp" for r in (1, 3) for level in range(1, 6)]
    typical = datasets.typical_mos(datasets.read_mos(labels("\n".join(rows))))
    assert typical[7].tolist() == pytest.approx([2.1, 2.2, 2.3, 2.4, 2.5])
