"""Which pictures are meant: folders, patterns, lists, and what lies beside pictures."""

import os
import sys

import pytest
from PIL import Image

from iqa.images import finding as inputs
from iqa.images.finding import LeftOut, images_below, in_words, named_images, read_list


def names(found, folder):
    return [(path.relative_to(folder).as_posix(), reason) for path, reason in found]


def test_folders_are_walked_in_the_order_of_paths(pictures):
    found = names(images_below(pictures), pictures)
    assert found == [("a/c/y.PNG", None), ("a/z.png", None), ("b.png", None), ("é\n&<.png", None)]


def test_a_folder_that_cannot_be_read_is_named_and_the_others_are_walked(pictures, monkeypatch):
    scandir = os.scandir

    def refusing(folder):
        if str(folder).endswith("/c"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(inputs.os, "scandir", refusing)
    found = names(images_below(pictures), pictures)
    assert found[0] == ("a/c", "the folder cannot be read (Permission denied)")
    assert len(found) == 4


def test_links_in_circles_end_and_links_to_nothing_are_named(pictures):
    (pictures / "circle").symlink_to(pictures)
    (pictures / "self.png").symlink_to("self.png")
    (pictures / "gone.txt").symlink_to("nowhere")
    left_out = LeftOut()
    found = names(images_below(pictures, left_out), pictures)
    assert len(found) == 5
    assert ("self.png", "a link to a file that does not exist") in found
    assert left_out == {".txt": 1, "linked folder": 1, "broken link": 1}


def test_a_folder_gives_what_can_be_read_and_counts_the_rest_by_kind_with_what_to_install(tmp_path, monkeypatch):
    pytest.importorskip("rawpy")
    pytest.importorskip("pillow_heif")
    suffixes = ["jfif", "PJPEG", "mpo", "j2k", "pbm", "pnm", "apng", "avif", "jpg"]
    for name in (*(f"a.{suffix}" for suffix in (*suffixes, "HEIC", "dng")), "a.pdf", "b.PDF", "a.mov", "README"):
        (tmp_path / name).touch()
    rest = "left out: 2 .pdf, 1 without a suffix, 1 .mov"
    remedy = " (pictures: pip install {})"
    for missing, more, extras in (
        (None, ["HEIC", "dng"], ""),
        ("rawpy", ["HEIC"], ", 1 .dng" + remedy.format("rawpy")),
        ("pillow_heif", [], ", 1 .HEIC, 1 .dng".lower() + remedy.format("pillow-heif rawpy")),
    ):
        if missing:
            monkeypatch.setitem(sys.modules, missing, None)
        left_out = LeftOut()
        found = {path.suffix[1:] for path, _ in images_below(tmp_path, left_out)}
        assert found == {*suffixes, *more}
        assert sorted(in_words(left_out)) == sorted(rest + extras)


def test_what_systems_put_beside_pictures_is_passed_over(pictures):
    (pictures / "notes.txt").unlink()
    beside = ("@eaDir/b.png/SYNOPHOTO_THUMB_M.jpg", ".thumbnails/b.png", "a/__MACOSX/._z.png")
    for name in (".DS_Store", "a/Thumbs.db", "._b.png", *beside):
        (pictures / name).parent.mkdir(parents=True, exist_ok=True)
        (pictures / name).touch()
    (pictures / "b.png.xmp").touch()
    left_out = LeftOut()
    assert len(list(images_below(pictures, left_out))) == 4
    assert not left_out


def test_what_was_deleted_is_passed_over_and_counted(pictures):
    deleted = ("$RECYCLE.BIN/S-1/$RAB12CD.jpg", "a/.Trashes/501/x.jpg", ".Trash-1000/files/x.jpg", "lost+found/x.jpg")
    for name in (*deleted, "a/$IAB12CD.jpg"):
        (pictures / name).parent.mkdir(parents=True, exist_ok=True)
        (pictures / name).touch()
    left_out = LeftOut()
    assert len(list(images_below(pictures, left_out))) == 4
    assert left_out == {"trash folder": 4, "note of a deleted file": 1, ".txt": 1}
    assert len(list(images_below(pictures / "lost+found"))) == 1  # which somebody named


def test_patterns_that_the_shell_left_are_looked_for(pictures):
    found = named_images([f"{pictures}/**/*.png"])
    assert {name for name, _ in names(found, pictures)} == {"a/z.png", "b.png", "é\n&<.png"}
    ((path, reason),) = named_images([f"{pictures}/*.tif"])
    assert (path.name, reason) == ("*.tif", "no file matches this pattern")
    (pictures / "circle").symlink_to(pictures)
    assert len(list(named_images([f"{pictures}/**"]))) == 5  # notes.txt too: a pattern is taken at its word
    assert [name for name, _ in names(named_images([f"{pictures}/a*"]), pictures)] == ["a/c/y.PNG", "a/z.png"]
    assert [name for name, _ in names(named_images([f"{pictures}/**/c/*"]), pictures)] == ["a/c/y.PNG"]
    Image.new("RGB", (9, 9)).save(pictures / "a[1].png")  # a file that is named like a pattern
    assert list(named_images([str(pictures / "a[1].png")])) == [(pictures / "a[1].png", None)]


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_lists_of_paths_are_read_in_any_encoding(tmp_path, separator, mark):
    listed = [b"a b.png", "é.png".encode(), b"caf\xe9.png"]
    (tmp_path / "list").write_bytes(mark + separator.join(listed) + separator)
    found = named_images([], [tmp_path / "list"], null=separator == b"\0")
    assert [os.fsencode(path) for path, _ in found] == listed


@pytest.mark.parametrize("null", [False, True])
def test_a_list_that_is_marked_as_utf_16_is_read_as_such(tmp_path, null):
    (tmp_path / "list").write_bytes(("a é.png\0/b.png\0" if null else "a é.png\r\n/b.png\r\n").encode("utf-16"))
    assert list(read_list(tmp_path / "list", null)) == ["a é.png", "/b.png"]


@pytest.mark.parametrize("content", ["a/b.jpg\r\n".encode("utf-16-le"), "a/b.jpg\n".encode("utf-16-be"), b"a\0/\0"])
def test_a_list_with_zero_bytes_that_were_not_asked_for_is_refused_and_walks_no_disk(tmp_path, content):
    (tmp_path / "list").write_bytes(content)
    ((path, reason),) = named_images([], [tmp_path / "list"])
    assert path.name == "list"
    assert "zero byte in line 1: give -0" in reason


def test_a_path_in_a_list_is_never_a_pattern_but_may_be_as_tables_write_it(pictures, monkeypatch):
    monkeypatch.chdir(pictures)
    for name in (b"\xe9.jpg", b"\\x41.jpg", b"A.jpg"):
        open(name, "wb").close()
    (pictures / "list").write_text("[b].png\n*.png\n\\xe9.jpg\n\\x41.jpg\n\\x42.jpg\n")
    found = [os.fsencode(path) for path, reason in named_images([], ["list"]) if not reason]
    assert found == [b"[b].png", b"*.png", b"\xe9.jpg", b"\\x41.jpg", b"\\x42.jpg"]
