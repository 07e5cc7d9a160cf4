import numpy as np
import pytest

from iqa.errors import LabelError
from iqa.labels import ratings, tid2013
from iqa.labels.tid2013 import LabelledImage


@pytest.fixture
def labels(tmp_path):
    def write(text):
        path = tmp_path / "mos_with_names.txt"
        path.write_text(text)
        return path

    return write


def test_names_of_either_case_are_read_as_reference_distortion_and_level(labels):
    images = tid2013.read_mos(labels("5.5 I01_01_1.bmp\n4.25 i02_11_3.BMP\n"))
    assert images == [LabelledImage("i01", 1, 1, 5.5), LabelledImage("i02", 11, 3, 4.25)]
    assert images[1].name == "i02_11_3"


@pytest.mark.parametrize("line", ["5.5", "x i01_01_1.bmp", "5.5 photo.bmp", "nan i01_01_1.bmp", "9.5 i01_01_1.bmp"])
def test_a_bad_line_is_named(labels, line):
    with pytest.raises(LabelError, match="line 2"):
        tid2013.read_mos(labels(f"5 i01_01_2.bmp\n{line}\n"))


def test_an_image_labelled_twice_is_refused(labels):
    with pytest.raises(LabelError, match="i01_01_1 stands twice"):
        tid2013.read_mos(labels("5 i01_01_1.bmp\n4 I01_01_1.BMP\n"))


def test_files_are_found_whatever_their_case_suffix_and_folder(labels, tmp_path):
    (tmp_path / "distorted_images").mkdir()
    for name in ("I01_01_1.BMP", "distorted_images/i01_01_2.png", "reference.bmp"):
        (tmp_path / name).touch()
    images = tid2013.read_mos(labels("5 i01_01_1.bmp\n5 I01_01_2.bmp\n5 i01_01_3.bmp\n"))
    assert [image.path and image.path.name for image in tid2013.locate(images, tmp_path)] == [
        "I01_01_1.BMP",
        "i01_01_2.png",
        None,
    ]


def test_names_are_matched_by_their_numbers_and_label_files_and_folders_are_no_images(labels, tmp_path):
    (tmp_path / "i01_01_2").mkdir()
    for name in ("a_1_1.png", "i01_01_1.bmp", "i01_01_1.csv"):
        (tmp_path / name).touch()
    images = tid2013.read_mos(labels("5 a_01_1.png\n5 i01_01_1.bmp\n5 i01_01_2.bmp\n"))
    assert [image.path and image.path.name for image in tid2013.locate(images, tmp_path)] == [
        "a_1_1.png",
        "i01_01_1.bmp",
        None,
    ]


def test_the_published_file_splits_into_360_and_2640_images_that_share_no_scene(shared):
    images = tid2013.read_mos(shared / "tid2013/mos_with_names.txt")
    train, test = tid2013.split_by_reference(images)
    assert (len(train), len(test)) == (2640, 360)
    assert not {image.reference for image in train} & {image.reference for image in test}


def test_ladders_are_whole_and_rise(labels):
    rows = [f"5 i{r:02d}_03_{level}.bmp" for r in (1, 2) for level in (3, 1, 2, 5, 4)]
    complete, incomplete = tid2013.ladders(tid2013.read_mos(labels("\n".join(rows[:-1]))))
    assert [[image.level for image in ladder] for ladder in complete] == [[1, 2, 3, 4, 5]]
    assert [len(ladder) for ladder in incomplete] == [4]


def test_the_typical_score_is_the_mean_over_scenes(labels):
    rows = [f"{r + level / 10} i{r:02d}_07_{level}.bmp" for r in (1, 3) for level in range(1, 6)]
    typical = tid2013.typical_mos(tid2013.read_mos(labels("\n".join(rows))))
    assert typical[7].tolist() == pytest.approx([2.1, 2.2, 2.3, 2.4, 2.5])


# --- ratings --------------------------------------------------------------------------------------------------------


def test_idealos_labels_are_read_as_histograms(shared):
    images = ratings.read_ratings(shared / "ava/ava_labels_test.json")
    assert len(images) == 25551
    assert images[0].name == "231893"
    assert images[0].histogram[4] == pytest.approx(76 / 223)


def test_ava_txt_is_read_by_its_columns(tmp_path):
    path = tmp_path / "AVA.txt"
    path.write_text("1 953619 0 1 5 17 38 36 15 6 5 1 1 22 1396\n2 953958 10 7 15 26 26 21 10 8 1 2 15 21 1396\n")
    images = ratings.read_ratings(path)
    assert [image.name for image in images] == ["953619", "953958"]
    assert images[1].histogram[0] == pytest.approx(10 / 126)


@pytest.mark.parametrize("heading", ["", "path,score\n"])
def test_a_csv_of_scores_gives_histograms_with_their_mean(tmp_path, heading):
    path = tmp_path / "own.csv"
    path.write_text(f"{heading}a.jpg,5.5\nholiday/b.jpg,4.2\n")
    images = ratings.read_ratings(path)
    assert [image.name for image in images] == ["a.jpg", "holiday/b.jpg"]
    assert [image.mean for image in images] == pytest.approx([5.5, 4.2], abs=0.05)


def test_a_csv_of_votes_gives_their_shares(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("path,1,2,3,4,5,6,7,8,9,10\na.jpg,0,0,0,0,1,3,0,0,0,0\n")
    assert ratings.read_ratings(path)[0].histogram[4:6] == (0.25, 0.75)


@pytest.mark.parametrize(
    "name, text, reason",
    [
        ("x.json", "{}", "not a list"),
        ("x.json", "[", "not JSON"),
        ("x.json", "[]", "no ratings"),
        ("x.json", '[{"image_id": "1"}]', "entry 1"),
        ("x.json", '[{"image_id": "1", "label": [0,0,0,0,0,0,0,0,0,0]}]', "entry 1: a histogram needs"),
        ("x.json", '[{"image_id": "1", "label": [1,2]}]', "2 votes instead of 10"),
        ("x.txt", "1 2 3\n", "line 1: 3 columns"),
        ("x.csv", "a.jpg,5\na.jpg,6\n", "line 2: a.jpg stands twice"),
        ("x.csv", "a.jpg,11\n", "line 1: a score of 11"),
        ("x.csv", "a.jpg,4\nb.jpg,many\n", "line 2"),
        ("x.xlsx", "", "ratings are"),
    ],
)
def test_bad_ratings_are_refused_by_file_entry_and_reason(tmp_path, name, text, reason):
    (tmp_path / name).write_text(text)
    with pytest.raises(LabelError, match=reason) as error:
        ratings.read_ratings(tmp_path / name)
    assert name in str(error.value)


def test_ratings_are_located_by_name_or_by_id(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("953619.jpg", "sub/b.png", "953619.json"):
        (tmp_path / name).touch()
    images = [ratings.RatedImage(name, (0.1,) * 10) for name in ("953619", "sub/b.png", "1")]
    located = ratings.locate_ratings(images, tmp_path)
    assert [image.path and image.path.name for image in located] == ["953619.jpg", "b.png", None]


def test_an_image_in_both_splits_is_refused():
    one = [ratings.RatedImage("7", (0.1,) * 10)]
    ratings.check_apart(one, [ratings.RatedImage("8", (0.1,) * 10)])
    with pytest.raises(LabelError, match="1 images stand in both splits: 7"):
        ratings.check_apart(one, one)


def test_rare_opinions_are_repeated():
    low, middle = (ratings.RatedImage(name, tuple(np.eye(10)[bin])) for name, bin in (("low", 2), ("middle", 4)))
    assert [image.name for image in ratings.oversample([low, middle], times=3)] == ["low"] * 3 + ["middle"]
