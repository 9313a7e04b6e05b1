"""Which files a watch takes for whole: those that hold still, by their own times alone."""

import os

import pytest

from probes.watch.files import Files
from probes.watch.unreadable import Unreadable


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def look(tmp_path, clock):
    files = Files(tmp_path, "*.zip", 1.0, clock)

    def look(seconds=0.0):
        clock.now += seconds
        return [path.relative_to(tmp_path).as_posix() for path in files.look()]

    look.files = files
    return look


def test_a_file_is_handed_out_once_it_has_held_still(tmp_path, look):
    path = tmp_path / "a.zip"
    for size in range(1, 5):
        path.write_bytes(b"x" * size)
        assert look(2.0) == []
        assert look.files.growing == {path}
    assert look(0.5) == []
    assert look(0.5) == ["a.zip"]
    assert look.files.growing == set()
    assert look(5.0) == []


def test_a_file_written_anew_in_place_is_handed_out_again(tmp_path, look):
    path = tmp_path / "best_model.zip"
    path.write_bytes(b"one")
    os.utime(path, (1000, 1000))
    look()
    assert look(1.0) == ["best_model.zip"]
    path.write_bytes(b"two")
    os.utime(path, (1002, 1002))
    assert look(1.0) == []
    assert look(1.0) == ["best_model.zip"]


def test_a_file_put_in_its_place_with_size_and_time_alike_is_handed_out_again(tmp_path, look):
    path, other = tmp_path / "last.zip", tmp_path / ".last.new"
    path.write_bytes(b"one")
    os.utime(path, (1000, 1000))
    look()
    assert look(1.0) == ["last.zip"]
    other.write_bytes(b"two")
    os.utime(other, (1000, 1000))
    os.replace(other, path)
    look()
    assert look(1.0) == ["last.zip"]


@pytest.mark.parametrize("seconds", [-3e8, 3e8], ids=["past", "future"])
def test_the_clock_of_the_file_system_does_not_matter(tmp_path, look, clock, seconds):
    path = tmp_path / "a.zip"
    path.write_bytes(b"x")
    os.utime(path, (1.7e9 + seconds, 1.7e9 + seconds))
    look()
    assert look(1.0) == ["a.zip"]


def test_names_of_unfinished_files_are_passed_over_without_a_word(tmp_path, look):
    for name in (".a.zip", "a.zip.tmp", "a.zip.part", "a.zip~", ".hidden/a.zip"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    look()
    assert look(1.0) == []
    assert look.files.news() == []


def test_files_of_another_kind_are_named_once(tmp_path, look):
    for name in ("a.csv", "b.csv", "notes"):
        (tmp_path / name).write_bytes(b"x")
    look()
    first = look.files.news()
    assert [line.split(":")[0] for line in first] == ["a.csv", "notes"]
    (tmp_path / "c.csv").write_bytes(b"x")
    look()
    assert look.files.news() == []


def test_directories_are_gone_through_and_links_to_them_are_not(tmp_path, look):
    (tmp_path / "x.zip" / "deep").mkdir(parents=True)
    (tmp_path / "x.zip" / "deep" / "a.zip").write_bytes(b"x")
    (tmp_path / "x.zip" / "loop").symlink_to(tmp_path)
    (tmp_path / "linked.zip").symlink_to(tmp_path / "x.zip" / "deep" / "a.zip")
    (tmp_path / "dangling.zip").symlink_to(tmp_path / "nowhere")
    look()
    assert look(1.0) == ["linked.zip", "x.zip/deep/a.zip"]


def test_a_pipe_is_not_opened(tmp_path, look):
    os.mkfifo(tmp_path / "pipe.zip")
    assert look() == look(1.0) == []
    (line,) = look.files.news()
    assert "no regular file" in line


def test_a_directory_may_come_and_go(tmp_path, clock):
    files = Files(tmp_path / "later", "*.zip", 1.0, clock)
    assert files.look() == []
    assert files.missing
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "a.zip").write_bytes(b"x")
    files.look()
    clock.now = 1.0
    assert [path.name for path in files.look()] == ["a.zip"]
    (tmp_path / "later" / "a.zip").unlink()
    (tmp_path / "later").rmdir()
    assert files.look() == []
    assert files.missing
    assert files.present == set()


def test_a_pattern_may_name_directories(tmp_path, clock):
    files = Files(tmp_path, "good/*.pt", 0.0, clock)
    for name in ("good/a.pt", "bad/a.pt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    files.look()
    assert [path.parent.name for path in files.look()] == ["good"]


def test_what_cannot_be_read_is_reported_once_when_it_has_stopped_changing(tmp_path, clock):
    broken = Unreadable(10.0, clock)
    path = tmp_path / "a.zip"
    for _ in range(4):
        broken.failed(path, "cut short")
        clock.now += 9.0
        assert broken.due() == []
        assert broken.pending
    clock.now += 1.0
    assert broken.due() == [path]
    assert broken.report(path) == "cut short"
    broken.failed(path, "cut short")
    clock.now += 20.0
    assert broken.due() == []
    assert not broken.pending
    broken.failed(path, "damaged")
    clock.now += 20.0
    assert broken.due() == [path]
    broken.pop(path)
    assert broken.reasons == {}
    assert broken.report(path) == ""
