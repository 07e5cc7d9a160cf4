"""Tables of labels as pandas, R, Excel and others write them: read as they are meant, or refused with the reason."""

import numpy as np
import pytest

from iqa.errors import LabelError
from iqa.labels.ratings import RatedImage, locate_ratings, read_ratings, read_scores

RIGHT = [("p0.jpg", 5.5), ("p1.jpg", 6.0)]

TABLES = {
    "Excel's separator": "sep=;\r\nimage;score\r\np0.jpg;5,5\r\np1.jpg;6\r\n",
    "index of pandas": ",image,score\n0,p0.jpg,5.5\n1,p1.jpg,6.0\n",
    "index without a name": ",score\np0.jpg,5.5\np1.jpg,6.0\n",
    "numbers before the pictures": "id,img,score\n1,p0.jpg,5.5\n2,p1.jpg,6\n",
    "raters before the pictures": "name,filename,rating\nAnna,p0.jpg,5.5\nBert,p1.jpg,6\n",
    "score before the picture": "rating,filename\n5.5,p0.jpg\n6,p1.jpg\n",
    "bars": "image|score\np0.jpg|5.5\np1.jpg|6\n",
    "R's write.table": '"image" "score"\n"1" "p0.jpg" 5.5\n"2" "p1.jpg" 6\n',
    "R's write.csv2": '"";"image";"score"\n"1";"p0.jpg";5,5\n"2";"p1.jpg";6\n',
    "a title": "Votes 2024,\r\nimage,score\r\np0.jpg,5.5\r\np1.jpg,6\r\n",
    "empty rows and columns": "image;score;;\r\np0.jpg;5,5;;\r\np1.jpg;6;;\r\n;;;\r\n",
    "an old Mac's lines": "image,score\rp0.jpg,5.5\rp1.jpg,6\r",
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_of_another_program_is_read_as_it_is_meant(csv_file, kind):
    assert [(image.name, image.label) for image in read_scores(csv_file(TABLES[kind]), (1, 10), onto=(1, 10))] == RIGHT


@pytest.mark.parametrize(
    "text, reason",
    [
        (
            "id,image_id,score\n1,953619,5\n",
            r"several columns .* \(id, image_id, score\): call the right one `path`",
        ),
        ("rank,photographer,score\n1,Anna,5\n", "none of the columns may hold the names"),
        ("image,score,score\np0.jpg,5,1\n", "two columns are called 'score'"),
        ("image;score\np0.jpg;950\np1.jpg;1.234\n", "line 3: the score 1.234 may be 1234 or 1.234"),
        ("image,score\np0.jpg,5_3\n", "line 2: the score is not a number: '5_3'"),
    ],
)
def test_what_may_mean_two_things_is_refused(csv_file, text, reason):
    with pytest.raises(LabelError, match=reason):
        read_scores(csv_file(text), (0, 2000))


@pytest.mark.parametrize("separator, mark", [("\t", ","), (";", ".")])
def test_marks_of_thousands_are_none_of_decimals(csv_file, separator, mark):
    votes = ["0", "1", "5", f"1{mark}024", f"2{mark}000", "900", "10", "3", "1", "0"]
    rows = [["image", *map(str, range(1, 11))], ["p0.jpg", *votes]]
    counts = [int(vote.replace(mark, "")) for vote in votes]
    (image,) = read_ratings(csv_file("\n".join(map(separator.join, rows))))
    assert image.mean == pytest.approx(np.average(np.arange(1, 11), weights=counts))
    assert read_scores(csv_file('image,score\np0.jpg,"1,500"\n'), (0, 2000), onto=(0, 1))[0].label == 0.75


def test_pictures_are_found_by_base_name_and_case_where_only_one_can_be_meant(tmp_path, capsys):
    (tmp_path / "in/deep").mkdir(parents=True)
    for name in ("p0.jpg", "deep/p1.JPG", "twice.jpg", "deep/twice.jpg", "one.jpg"):
        (tmp_path / "in" / name).touch()
    names = ["C:\\fotos\\P0.JPG", "imgs\\p1.jpg ", "TWICE.jpg", "ONE.jpg", "x/One.jpg", "none.jpg"]
    located = locate_ratings([RatedImage(name, 5.0) for name in names], tmp_path / "in")
    assert [image.path and image.path.name for image in located] == ["p0.jpg", "p1.JPG", None, None, None, None]
    assert "2 images were found by base name" in capsys.readouterr().err
