"""data/download.py against a server on this machine."""

import dataclasses
import hashlib
import importlib.util
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from iqa.errors import IqaError

CONTENT = bytes(range(256)) * 400
DIGEST = hashlib.sha256(CONTENT).hexdigest()

specification = importlib.util.spec_from_file_location("download", Path(__file__).parent.parent / "data/download.py")
download = importlib.util.module_from_spec(specification)
specification.loader.exec_module(download)


class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        start = 0
        if "Range" in self.headers and self.path != "/plain":
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.server.starts.append(start)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:]
        self.wfile.write(body[: len(body) // 2] if self.path == "/broken" and not start else body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.starts = []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("digest", [DIGEST, download.UNKNOWN])
def test_a_file_is_fetched_and_checked_or_its_hash_is_shown(server, tmp_path, capsys, digest):
    download.fetch(f"{server.url}/file", tmp_path / "a/file", digest)
    assert (tmp_path / "a/file").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]
    assert (DIGEST in capsys.readouterr().err) == (digest == download.UNKNOWN)


def test_a_broken_transfer_goes_on_where_it_stopped(server, tmp_path):
    server.starts.clear()
    with pytest.raises(OSError, match=r"broke after|IncompleteRead"):
        download.fetch(f"{server.url}/broken", tmp_path / "file", DIGEST)
    assert not (tmp_path / "file").exists()
    download.fetch(f"{server.url}/broken", tmp_path / "file", DIGEST)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.starts == [0, len(CONTENT) // 2]


@pytest.mark.parametrize("name, there", [("plain", CONTENT[:100]), ("file", CONTENT)], ids=["no ranges", "all there"])
def test_a_part_is_used_or_fetched_again(server, tmp_path, name, there):
    (tmp_path / "file.part").write_bytes(there)
    download.fetch(f"{server.url}/{name}", tmp_path / "file", DIGEST)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_file_with_another_hash_is_not_kept(server, tmp_path):
    with pytest.raises(IqaError, match="sha256 differs"):
        download.fetch(f"{server.url}/file", tmp_path / "file", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_an_error_that_names_it_and_the_others_are_fetched(server, tmp_path, monkeypatch, command):
    monkeypatch.setattr(download, "read_manifest", lambda: {"tid2013/missing": DIGEST, "tid2013/file": DIGEST})
    monkeypatch.setattr(download, "SOURCES", {"tid2013": f"{server.url}/"})
    code, out, err = command(download, "tid2013", "--to", tmp_path)
    assert code == 1
    assert "1 fetched, 1 failed" in out
    assert err.startswith(f"{server.url}/missing: HTTP Error 404")
    assert command(download, "tid2013", "--to", tmp_path)[1].startswith("2 files: 1 were there")


def test_every_file_of_the_manifest_has_a_source_and_a_whole_hash():
    manifest = download.read_manifest()
    assert len(manifest) == 1033
    assert all(download.url_of(path).startswith("https://") for path in manifest)
    unknown = [path for path, digest in manifest.items() if digest == download.UNKNOWN]
    assert unknown == ["ava_labels_train.json", "idealo/weights_mobilenet_technical_0.11.hdf5"]
    assert all(len(digest) == 64 for path, digest in manifest.items() if path not in unknown)


# --- photographs of public repositories ------------------------------------------------------------------------------

COMMIT = "0123456789" * 4
ONE = "43dd47ea691c90a5fa7827892c70241913351963"  # printf one | git hash-object --stdin
TWO = "64c5e5885a4b06010b3a0c20edb7900dd0311025"  # printf two | git hash-object --stdin


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A repository's archive, and its source: a picture twice, another, one outside the pattern, a text."""
    file = tmp_path / "host/someone/pictures/tar.gz" / COMMIT
    file.parent.mkdir(parents=True)
    with tarfile.open(file, "w:gz") as archive:
        for name, content in (
            *(("images/1.jpg", b"one"), ("images/again.JPG", b"one"), ("images/2.png", b"two")),
            *(("other/3.jpg", b"no"), ("images/r.txt", b"t")),
        ):
            member = tarfile.TarInfo(f"pictures-{COMMIT}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(download, "ARCHIVES", (tmp_path / "host").as_uri())
    digest = hashlib.sha256("".join(sorted([ONE, ONE, TWO])).encode()).hexdigest()
    return file, download.Source("some", "someone/pictures", COMMIT, "^images/", 3, digest, "free")


def test_photographs_come_once_each_and_those_near_an_evaluation_are_left_out(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "NEAR_EVALUATION", (TWO[:10],))
    assert download.fetch_photographs(archive[1], tmp_path) == 1
    (file,) = (tmp_path / "some").iterdir()
    assert (file.name, file.read_bytes()) == (f"{ONE[:16]}.jpg", b"one")
    assert not list(tmp_path.glob("*.tar.gz*"))
    monkeypatch.setattr(download, "ARCHIVES", "file:///nowhere")
    assert download.fetch_photographs(archive[1], tmp_path) == 1  # there already: nothing is fetched


@pytest.mark.parametrize(
    "spoil", [lambda b: b[: len(b) // 2], lambda b: b[:20] + b"\xff" * 40 + b[60:], lambda b: b"no", None]
)
def test_a_spoilt_archive_or_other_photographs_are_one_error_and_are_not_kept(archive, tmp_path, spoil):
    file, source = archive
    if spoil:
        file.write_bytes(spoil(file.read_bytes()))
    else:
        source = dataclasses.replace(source, digest="0" * 64)
    with pytest.raises(download.DownloadError):
        download.fetch_photographs(source, tmp_path)
    assert not (tmp_path / "some").exists()
    assert not list(tmp_path.glob("*.tar.gz*"))


def test_photographs_of_ava_keep_their_ids_and_the_terms_come_first(archive, tmp_path, monkeypatch, command):
    table = tmp_path / "photographs.csv"
    named = dataclasses.astuple(dataclasses.replace(archive[1], name="ava2k"))
    table.write_text(f"name,repository,commit,pattern,files,digest,terms\n{','.join(map(str, named))}\n")
    monkeypatch.setattr(download, "PHOTOGRAPHS", table)
    code, out, err = command(download, "ava2k", "--to", tmp_path)
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first == "ava2k: 3 photographs of someone/pictures. Terms: free"
    assert second == f"ava2k: 3 photographs in {tmp_path / 'photographs/ava2k'}"
    assert {file.name for file in (tmp_path / "photographs/ava2k").iterdir()} == {"1.jpg", "again.jpg", "2.png"}
