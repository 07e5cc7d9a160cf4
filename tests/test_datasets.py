import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa.errors import LabelError
from iqa.labels import ratings, tid2013
from iqa.labels.tid2013 import LabelledImage

VOTES = ",".join(map(str, range(1, 11)))


@pytest.fixture
def labels(csv_file):
    return lambda text: csv_file(text, "mos_with_names.txt")


def test_names_of_either_case_are_read_as_reference_distortion_and_level(labels):
    images = tid2013.read_mos(labels("5.5 I01_01_1.bmp\n4.25 i02_11_3.BMP\n"))
    assert images == [LabelledImage("i01", 1, 1, 5.5), LabelledImage("i02", 11, 3, 4.25)]
    assert images[1].name == "i02_11_3"


BAD_LINES = ["5.5", "x i01_01_1.bmp", "5.5 photo.bmp", "nan i01_01_1.bmp", "9.5 i01_01_1.bmp", "4 I01_01_2.BMP"]


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_line_is_named(labels, line):
    with pytest.raises(LabelError, match="i01_01_2 appears twice" if line[0] == "4" else "line 2"):
        tid2013.read_mos(labels(f"5 i01_01_2.bmp\n{line}\n"))


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


# --- ratings --------------------------------------------------------------------------------------------------------


def test_idealos_labels_are_read_as_histograms(shared):
    images = ratings.read_ratings(shared / "ava/ava_labels_test.json")
    assert len(images) == 25551
    assert images[0].name == "231893"
    assert images[0].label[4] == pytest.approx(76 / 223)


def test_ava_txt_is_read_by_its_columns(csv_file):
    text = "1 953619 0 1 5 17 38 36 15 6 5 1 1 22 1396\n2 953958 10 7 15 26 26 21 10 8 1 2 15 21 1396\n"
    images = ratings.read_ratings(csv_file(text, "AVA.txt"))
    assert [image.name for image in images] == ["953619", "953958"]
    assert images[1].label[0] == pytest.approx(10 / 126)


def test_an_image_in_both_splits_is_refused():
    one = [ratings.RatedImage("7", (0.1,) * 10)]
    ratings.check_apart(one, [ratings.RatedImage("8", (0.1,) * 10)])
    with pytest.raises(LabelError, match=r"images in both splits \(1\): 7"):
        ratings.check_apart(one, one)


def test_rare_opinions_are_repeated():
    low, middle = (ratings.RatedImage(name, tuple(np.eye(10)[bin])) for name, bin in (("low", 2), ("middle", 4)))
    assert [image.name for image in ratings.oversample([low, middle], times=3)] == ["low"] * 3 + ["middle"]


# --- ratings of your own in a CSV -----------------------------------------------------------------------------------


def test_votes_count_where_a_csv_has_them_and_the_mean_where_they_are_empty(csv_file):
    file = csv_file(f"image_id,{VOTES},mean\n17,0,0,0,0,1,3,0,0,0,0,9\n18{',' * 11}5.5\n")
    voted, scored = ratings.read_ratings(file)
    assert voted.label[4:6] == (0.25, 0.75)
    assert scored.mean == pytest.approx(5.5, abs=0.01)
    assert scored.label == ratings.read_ratings(csv_file("path,score\n18,5.5\n"))[0].label


@given(st.lists(st.integers(0, 50), min_size=2, max_size=12).filter(any))
def test_the_mean_of_votes_is_mapped_exactly(votes):
    highest = len(votes) - 1
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "own.csv")
        file.write_text(f"path,{','.join(map(str, range(highest + 1)))}\na.jpg,{','.join(map(str, votes))}\n")
        (image,) = ratings.read_ratings(file, scale=(0, highest))
    assert len(image.label) == 10 and sum(image.label) == pytest.approx(1)
    assert image.mean == pytest.approx(1 + 9 * np.average(np.arange(highest + 1), weights=votes) / highest)


@pytest.mark.parametrize(
    "name, text, reason",
    [
        ("x.json", "{}", "not a list"),
        ("x.json", "[]", "no ratings"),
        ("x.json", '[{"image_id": "1"}]', "entry 1"),
        ("x.json", '[{"image_id": "1", "label": [0,0,0,0,0,0,0,0,0,0]}]', "entry 1: a histogram needs"),
        ("x.json", '[{"image_id": "1", "label": [1,2]}]', "2 votes instead of 10"),
        ("x.txt", "1 2 3\n", "line 1: 3 columns"),
        ("x.csv", "a.jpg,5\na.jpg,6\n", "line 2: a.jpg appears twice"),
        ("x.xlsx", "", "ratings are"),
        ("x.csv", "path,1,2,3,4,5,6,7\na.jpg,1,1,1,1,1,1,1\n", "line 1: the votes are 1-7, but the scale is 1-10"),
        ("x.csv", "path,1,2,3,4,5,6,7,9,10\n", "line 1: 9 columns of votes, not all of 1-10"),
        ("x.csv", "path,camera,year\na.jpg,Nikon,2012\n", "line 1: the heading names neither votes"),
        ("x.csv", f"{VOTES},mean\n{'1,' * 10}5\n", "line 1: none of the columns may hold"),
        ("x.csv", "path,score\na.jpg,\n", "line 2: the score is empty"),
        ("x.csv", "path,score\na.jpg,good\n", "line 2: the score is not a number: 'good'"),
        ("x.csv", "path,score\na.jpg,nan\n", "line 2: a score of nan is not within 1-10"),
        ("x.csv", "path,score\n,5\n", "line 2: the name is empty"),
        ("x.csv", "path,score\na.jpg,5,6\n", "line 2: 3 columns instead of 2"),
        ("x.csv", f"path,{VOTES},mean\na.jpg{',' * 11}\n", "line 2: neither votes nor a score"),
        ("x.csv", f"path,{VOTES},mean\na.jpg,1{',' * 10}\n", "line 2: some of the votes are empty"),
        ("x.csv", "path,score\na\0.jpg,5\n\0", "x.csv"),
        ("x.json", '[{"image_id": "1", "label": ' + "[" * 100_000 + "]" * 100_000 + "}]", "not JSON"),
        ("x.json", '[{"image_id": {}, "label": [1,1,1,1,1,1,1,1,1,1]}]', "entry 1: the image_id is not text"),
        ("x.csv", f"path,score,note\na.jpg,5,{'x' * 200_000}\n", "line 2: field larger"),
        ("x.txt", f"1 a {'9' * 400} 1 1 1 1 1 1 1 1 1 1 1 1\n", "line 1: a histogram needs"),
    ],
    ids=itertools.count(),
)
def test_bad_ratings_are_refused_by_file_place_and_reason(csv_file, name, text, reason):
    with pytest.raises(LabelError, match=reason) as error:
        ratings.read_ratings(csv_file(text, name))
    assert name in str(error.value) and len(str(error.value)) < 1000 and "\n" not in str(error.value)


def test_labels_that_are_not_text_are_refused_by_name(tmp_path):
    readers = {"own.csv": ratings.read_ratings, "own.json": ratings.read_ratings, "mos.txt": tid2013.read_mos}
    for name, read in readers.items():
        (tmp_path / name).write_bytes(b"\xff\xfe\x00")
        with pytest.raises(LabelError, match=f"{name}: not a text file"):
            read(tmp_path / name)


@pytest.mark.parametrize("scale", [(7, 1), (1, 1), (0, float("nan"))])
def test_a_scale_that_does_not_rise_is_refused(csv_file, scale):
    with pytest.raises(LabelError, match="a scale needs"):
        ratings.read_ratings(csv_file("a.jpg,5\n"), scale)


# --- label files of any make --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["image_id", "id", "Filename", "picture"])
def test_a_heading_of_votes_is_no_picture_and_a_picture_of_rising_votes_is_one(csv_file, first):
    assert [image.name for image in ratings.read_ratings(csv_file(f"{first},{VOTES}\n953619,{VOTES}\n"))] == ["953619"]
    assert [image.name for image in ratings.read_ratings(csv_file(f"953619,{VOTES}\na.jpg,{VOTES}\n"))] == [
        "953619",
        "a.jpg",
    ]


def test_files_are_found_by_name_or_id_whatever_their_case_suffix_and_folder_and_no_sidecar_hides_them(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("953619.jpg", "953619.xmp", "953619.webp", "953619.aae", "2.PNG", "2.zip", "3.xmp", "in/b.png"):
        (tmp_path / name).touch()
    images = [ratings.RatedImage(name, (0.1,) * 10) for name in ("953619", "2", "3", "in/b.png")]
    located = ratings.locate_ratings(images, tmp_path)
    assert [image.path and image.path.name for image in located] == ["953619.jpg", "2.PNG", None, "b.png"]
    for name in ("I01_01_1.bak", "I01_01_1.BMP", "I01_01_1.xmp", "in/i01_01_2.png", "reference.bmp"):
        (tmp_path / name).touch()
    found = tid2013.locate([LabelledImage("i01", 1, level, 5.0) for level in (1, 2, 3)], tmp_path)
    assert [image.path and image.path.name for image in found] == ["I01_01_1.BMP", "i01_01_2.png", None]


@pytest.mark.parametrize("name", ["../a.jpg", "..", "b/../../a.jpg", "/etc/hostname"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "a.jpg").touch()
    with pytest.raises(LabelError, match="the name leads out of"):
        ratings.locate_ratings([ratings.RatedImage(name, (0.1,) * 10)], tmp_path / "in")


# --- splits ---------------------------------------------------------------------------------------------------------


def test_a_split_of_the_files_own_is_kept_and_what_is_in_neither_part_is_counted(csv_file):
    file = csv_file("image_name,MOS,set\na.jpg,3,training\nb.jpg,4,Test\nc.jpg,2,validation\nd.jpg,1,training\ne.jpg,2,\n")
    images = ratings.read_scores(file, (1, 5), group="set")
    train, test, others = ratings.split_by_name(images)
    assert [image.name for image in train] == ["a.jpg", "d.jpg"]
    assert [image.name for image in test] == ["b.jpg"]
    assert others == {"validation": 1, "(empty)": 1}
    _, chosen, _ = ratings.split_by_name(images, "validation")
    assert [image.name for image in chosen] == ["c.jpg"]
    with pytest.raises(LabelError, match="no row says dev"):
        ratings.split_by_name(images, "dev")


def grouped(*groups):
    return [ratings.RatedImage(f"{number}.jpg", (0.1,) * 10, group=group) for number, group in enumerate(groups)]


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=2, max_size=40), st.floats(0.01, 0.99), st.integers(0, 9))
def test_a_split_tears_no_group_apart_and_loses_no_image(groups, share, seed):
    images = grouped(*groups)
    if len(set(groups)) == 1 and None not in groups:
        with pytest.raises(LabelError, match="of two groups or more"):
            ratings.split_by_group(images, share, seed)
        return
    train, test = ratings.split_by_group(images, share, seed)
    assert train and test
    assert sorted([*train, *test], key=lambda image: image.name) == sorted(images, key=lambda image: image.name)
    assert not {image.group for image in train} & {image.group for image in test} - {None}


def test_a_split_has_the_share_asked_for_and_the_same_seed_gives_the_same():
    images = grouped(*(f"{number // 3}" for number in range(300)))
    train, test = ratings.split_by_group(images, 0.2, seed=1)
    assert (len(train), len(test)) == (240, 60)
    assert ratings.split_by_group(images[::-1], 0.2, seed=1)[1] == test[::-1]
    assert ratings.split_by_group(images, 0.2, seed=2)[1] != test


def test_images_are_grouped_by_a_column_of_any_name(csv_file):
    file = csv_file("path,theme,score\na.jpg,sea,5\nb.jpg,sea,6\nc.jpg,,7\n")
    assert [image.group for image in ratings.read_ratings(file, group="Theme")] == ["sea", "sea", None]
    with pytest.raises(LabelError, match=r"own\.csv, line 1: there is no column 'scene'"):
        ratings.read_ratings(file, group="scene")


@given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=3, max_size=40), st.integers(2, 5), st.integers(0, 9))
def test_folds_test_every_image_once_and_tear_no_group_apart(groups, folds, seed):
    images = grouped(*groups)
    count = len(set(groups) - {None}) + groups.count(None)
    if count < folds:
        with pytest.raises(LabelError, match=f"{folds} folds need at least as many groups, and the images are of {count}"):
            ratings.split_into_folds(images, folds, seed)
        return
    parts = ratings.split_into_folds(images, folds, seed)
    assert sorted(image.name for _, test in parts for image in test) == sorted(image.name for image in images)
    for train, test in parts:
        assert train and test and len(train) + len(test) == len(images)
        assert not {image.group for image in train} & {image.group for image in test} - {None}


# --- scores ---------------------------------------------------------------------------------------------------------


def test_scores_are_read_by_the_names_of_their_columns_and_mapped_to_the_networks_scale(csv_file):
    file = csv_file("scene,MOS,image_name,1,2,3\nsea,50,a.jpg,20,50,80\n,100,b.jpg,1,2,3\n")
    images = ratings.read_scores(file, (0, 100), "scene")
    assert images == [ratings.RatedImage("a.jpg", 4.5, group="sea"), ratings.RatedImage("b.jpg", 9.0)]
    assert [image.label for image in images] == [4.5, 9]
    (voted,) = ratings.read_scores(csv_file("path,1,2,3,4,5\na.jpg,0,0,0,2,2\n"), (1, 5))
    assert voted.label == pytest.approx(9 * 3.5 / 4)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("path,mos\na.jpg,50\nb.jpg,101\n", "line 3: a score of 101 is not within 0-100"),
        ("a.jpg,1,2,3\n", "line 1: 4 columns instead of 102"),
    ],
)
def test_scores_that_are_none_are_named(csv_file, text, reason):
    with pytest.raises(LabelError, match=reason):
        ratings.read_scores(csv_file(text), (0, 100))
