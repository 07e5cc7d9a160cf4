"""`iqa move`: from a list to a deed that can be undone."""

import pytest
from PIL import Image

from iqa.commands import iqa


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures with their sidecars, in two folders."""
    monkeypatch.chdir(tmp_path)
    names = "a.jpg a.CR2 a.xmp a.jpg.xmp a.CR2.pp3 ab.jpg b.jpg b.png b.xmp b.png.xmp two/a.jpg two/a.jpg.xmp"
    for name in names.split():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_text(name)
    return tmp_path / "photos"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_pictures_move_with_all_that_belongs_to_them_and_move_back(command, folder, tmp_path):
    before = contents(folder)
    listed = folder / "pictures.txt"
    listed.write_text("a.CR2\na.jpg\ntwo/a.jpg\nphotos/b.png\n")  # as seen from the list, and from where it is read
    code, out, err = command(iqa, "move", listed, "aside")
    assert code == 0, err
    assert "3 pictures moved with 6 files that belong to them; to undo it: iqa move --undo" in out
    moved = contents(tmp_path / "aside")
    note = moved.pop("moved.jsonl")
    assert note.count("\n") == len(moved) == 9
    assert moved["a (2).jpg"] == "two/a.jpg" and moved["a (2).jpg.xmp"] == "two/a.jpg.xmp"
    assert {name for name, text in moved.items() if name == text} == {
        *("a.jpg", "a.CR2", "a.xmp", "a.jpg.xmp", "a.CR2.pp3", "b.png", "b.png.xmp")
    }
    assert set(contents(folder)) == {"ab.jpg", "b.jpg", "b.xmp", "pictures.txt"}
    for back in ("9 files", "0 files"):
        code, out, err = command(iqa, "move", "--undo", tmp_path / "aside/moved.jsonl")
        assert (code, out) == (0, f"{back} moved back\n"), err
    listed.unlink()
    assert contents(folder) == before


def test_what_cannot_be_moved_is_named_and_nothing_is_overwritten(command, folder, tmp_path):
    (tmp_path / "list.txt").write_text("gone.jpg\nphotos\nphotos/ab.jpg\n")
    code, _, err = command(iqa, "move", tmp_path / "list.txt", tmp_path / "aside")
    assert code == 1 and "gone.jpg: not moved (No such file" in err and "photos: not moved (not a file)" in err
    (folder / "ab.jpg").write_text("another")
    code, _, err = command(iqa, "move", "--undo", tmp_path / "aside/moved.jsonl")
    assert code == 1 and "ab.jpg is there already" in err
    assert (folder / "ab.jpg").read_text() == "another" and (tmp_path / "aside/ab.jpg").read_text() == "ab.jpg"
    assert command(iqa, "move", tmp_path / "list.txt")[0] == command(iqa, "move", "--undo", folder / "b.png")[0] == 2


def test_a_link_on_a_shelf_moves_the_picture_and_a_name_that_no_line_holds_is_found(command, folder, tmp_path):
    (tmp_path / "worst").mkdir()
    (tmp_path / "worst/b.jpg").symlink_to(folder / "b.jpg")
    (folder / "odd\nname.jpg").write_text("odd")
    (tmp_path / "list.txt").write_text("worst/b.jpg\nphotos/odd\\x0aname.jpg\n")
    assert command(iqa, "move", "list.txt", "aside")[0] == 0
    assert set(contents(tmp_path / "aside")) == {"b.jpg", "odd\nname.jpg", "moved.jsonl"}


def test_a_file_or_a_folder_called_like_a_command_is_scored(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "learn").mkdir()
    Image.new("RGB", (300, 200)).save("learn/a.png")
    code, out, _ = command(iqa, "learn", "--runtime", "litert", "--workers", 0)
    assert code == 0 and "learn/a.png" in out
