"""What another image finds on an engine's volume, whatever happens while it is made ready."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from llmops.retrieval import volume
from llmops.retrieval.volume import backup, files
from llmops.retrieval.volume.__main__ import main
from llmops.retrieval.volume.files import Busy, Refused
from llmops.retrieval.volume.opened import Opened, open_for

A, B, C = (f"docker.io/milvusdb/milvus:v{at}" for at in (1, 2, 3))
Content = dict[str, bytes]
OLD: Content = {"data/a/1.bin": b"x" * 999, "data/b.bin": b"", "rdb": b"r"}
NEW: Content = {"data/b.bin": b"new", "woodpecker": b"w" * 999}


def put(root: Path, content: Content) -> None:
    """An engine writes, in place."""
    for one in files.data(root):
        for each in sorted([one, *one.rglob("*")], reverse=True):
            each.rmdir() if each.is_dir() else each.unlink()
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text)


def content(root: Path) -> Content:
    """What an engine finds."""
    found = [each for one in files.data(root) for each in [one, *one.rglob("*")] if each.is_file()]
    return {str(one.relative_to(root)): one.read_bytes() for one in found}


def saved(root: Path) -> list[tuple[str, Content]]:
    """The whole backups."""
    return [(one.image, content(one.data)) for one in backup.backups(root)]


def state(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / ".llmops/opened.json").read_text())
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A volume as a file system makes it, that image A opened and wrote to."""
    (tmp_path / "lost+found").mkdir()
    open_for(A, tmp_path)
    put(tmp_path, OLD)
    return tmp_path


def test_an_empty_volume_is_opened_and_nothing_is_saved(tmp_path: Path) -> None:
    told = open_for(A, tmp_path)
    assert told == Opened("", told.began, None)
    assert state(tmp_path) == {"image": A, "began": told.began}
    assert sorted(one.name for one in (tmp_path / ".llmops").iterdir()) == ["lock", "opened.json"]


def test_each_time_that_a_volume_is_empty_has_a_name_which_stays_as_long_as_there_are_data(root: Path) -> None:
    first = open_for(A, root).began
    assert first
    assert {open_for(image, root).began for image in (A, B)} == {first}
    put(root, NEW)
    gone_back = open_for(A, root)
    assert (bool(gone_back.restored), gone_back.began) == (True, first)
    put(root, {})  # somebody emptied it, and left what is ours
    second = open_for(A, root).began
    assert second not in ("", first)
    put(root, OLD)
    assert open_for(A, root).began == second


def test_a_volume_of_before_that_has_data_never_began(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    assert open_for(A, tmp_path, was=A).began == ""


def test_the_same_image_finds_what_it_wrote_and_nothing_is_copied_or_written(root: Path) -> None:
    before = {one: one.stat().st_mtime_ns for one in (root / ".llmops").iterdir() if one.name != "lock"}
    open_for(A, root)
    assert {one: one.stat().st_mtime_ns for one in (root / ".llmops").iterdir() if one.name != "lock"} == before
    assert (content(root), saved(root)) == (OLD, [])


def test_another_image_opens_the_data_after_they_were_saved(root: Path) -> None:
    told = open_for(B, root)
    assert (content(root), saved(root), state(root)["image"]) == (OLD, [(A, OLD)], B)
    assert told.backup is not None
    assert (told.backup.image, told.backup.size) == (A, sum(map(len, OLD.values())))
    put(root, NEW)  # and what it does to them in place is not done to the backup
    assert saved(root) == [(A, OLD)]


def test_who_goes_back_finds_what_there_was_and_another_name_for_what_happened(root: Path) -> None:
    open_for(B, root)
    put(root, NEW)
    first = open_for(A, root)
    assert (content(root), saved(root), state(root)["image"]) == (OLD, [], A)
    assert first.restored
    assert open_for(A, root).restored == first.restored  # as often as its pod is started
    assert open_for(B, root).restored == first.restored  # forward is no going back
    put(root, NEW)
    assert open_for(A, root).restored not in ("", first.restored)
    assert not (root / ".llmops/aside").exists()


def test_of_several_changes_one_backup_is_kept_that_of_the_image_before(root: Path) -> None:
    open_for(B, root)
    put(root, NEW)
    open_for(C, root)
    assert saved(root) == [(B, NEW)]
    assert len(list((root / ".llmops/backups").iterdir())) == 1


def test_a_clock_that_goes_backwards_does_not_make_the_older_backup_the_newer(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_make_room", lambda *_: None)
    for image, now in ((B, 1000.0), (C, 900.0), (A, 800.0)):
        monkeypatch.setattr("llmops.retrieval.volume.backup.time.time", lambda now=now: now)
        open_for(image, root)
        put(root, NEW)
    assert [image for image, _ in saved(root)] == [C]


def test_data_of_which_nobody_knows_who_wrote_them_are_saved_too(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    open_for(B, tmp_path)
    assert saved(tmp_path) == [("", OLD)]


def test_the_volume_of_before_is_known_by_what_its_deployment_ran(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    open_for(B, tmp_path, was=A)
    assert saved(tmp_path) == [(A, OLD)]
    open_for(A, tmp_path, was=C)  # the volume knows better by now
    assert (content(tmp_path), state(tmp_path)["image"]) == (OLD, A)


def test_a_volume_of_before_whose_image_stays_is_not_copied(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    open_for(A, tmp_path, was=A)
    assert (saved(tmp_path), state(tmp_path)) == ([], {"image": A})


def test_without_backups_any_image_opens_the_data_as_they_are(root: Path) -> None:
    open_for(B, root)
    put(root, NEW)
    assert open_for(A, root, keep=False).restored == ""
    assert (content(root), state(root)["image"]) == (NEW, A)


def fills(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(backup, "free", lambda _: free)


def test_where_a_copy_has_no_room_it_is_refused_with_what_to_write_and_the_data_stay(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fills(monkeypatch, 2**20)
    with pytest.raises(Refused, match=r"spec\.engine\.storage\.size: \d+Gi.*or spec\.engine\.backup: Never") as told:
        open_for(B, root)
    assert B in str(told.value)
    assert (content(root), saved(root), state(root)["image"]) == (OLD, [], A)
    open_for(A, root)  # it may go on


def test_a_disk_that_is_fuller_than_it_said_is_refused_the_same_way(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("llmops.retrieval.volume.backup.shutil.copystat", full)
    with pytest.raises(Refused, match="does not fit beside it"):
        open_for(B, root)
    assert (content(root), (root / ".llmops/copying").exists()) == (OLD, False)


def test_an_older_backup_goes_first_only_where_that_is_needed_and_enough(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root, {**OLD, "large": b"l" * 40_000})
    open_for(B, root)
    put(root, NEW)
    fills(monkeypatch, 0)
    with pytest.raises(Refused):
        open_for(C, root)
    assert [image for image, _ in saved(root)] == [A]
    fills(monkeypatch, backup.MARGIN + 10_000)
    copy, there = backup._copy, []

    def copied(*given: Any) -> int:
        there.extend(saved(root))
        return copy(*given)

    monkeypatch.setattr(backup, "_copy", copied)
    open_for(C, root)
    assert (there, saved(root)) == ([], [(B, NEW)])


def test_what_changed_on_the_disk_since_it_was_saved_is_not_put_back(root: Path) -> None:
    open_for(B, root)
    put(root, NEW)
    (one,) = backup.backups(root)
    (one.data / "data/a/1.bin").write_bytes(b"y")
    with pytest.raises(Refused, match=r"data/a/1\.bin in .* is not what was copied.*backup: Never"):
        open_for(A, root)
    assert (content(root), state(root)["image"]) == (NEW, B)
    open_for(B, root)  # so it may go on


def test_what_is_written_to_while_it_is_copied_is_copied_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = backup.verify
    verify: list[backup.Backup] = []

    def meanwhile(one: backup.Backup) -> None:
        real(one)
        if not verify:
            (root / "rdb").write_bytes(b"still written")
        verify.append(one)

    monkeypatch.setattr(backup, "verify", meanwhile)
    with pytest.raises(OSError, match="written to while it was copied"):
        open_for(B, root)
    assert state(root)["image"] == A
    open_for(B, root)
    assert saved(root) == [(A, {**OLD, "rdb": b"still written"})]


def test_a_second_pod_does_not_touch_what_a_first_one_is_at(root: Path) -> None:
    with files.alone(root / ".llmops"), pytest.raises(Busy):
        open_for(B, root)
    assert state(root)["image"] == A


def test_links_folders_without_files_and_modes_come_back_and_sockets_do_not(root: Path) -> None:
    (root / "data/empty").mkdir()
    (root / "data/link").symlink_to("b.bin")
    (root / "rdb").chmod(0o600)
    os.mkfifo(root / "data/pipe")
    open_for(B, root)
    put(root, NEW)
    open_for(A, root)
    assert (root / "data/empty").is_dir()
    assert (root / "data/link").readlink() == Path("b.bin")
    assert (root / "rdb").stat().st_mode & 0o777 == 0o600
    assert not (root / "data/pipe").exists()


class Killed(BaseException):
    """So that nothing takes it for an error of its own."""


@contextmanager
def killed_at(line: int) -> Iterator[None]:
    """Ends what runs before its n-th line; what `finally` and `with` would do is done by a kernel too."""
    ours, count = str(Path(volume.__file__).parent), 0

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        nonlocal count
        if not frame.f_code.co_filename.startswith(ours):
            return None
        if event == "line":
            count += 1
            if count == line:
                raise Killed
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


# a kill between open() and its `with` leaves a file to the garbage collector
KILLS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def opened(image: str, root: Path, line: int) -> bool:
    """Whether it came to its end before that line."""
    try:
        with killed_at(line):
            open_for(image, root)
    except Killed:
        return False
    return True


class Case(NamedTuple):
    """From a volume that `ready` leaves, to `image`: what its engine finds then, and what is saved."""

    ready: tuple[str, ...]
    image: str
    found: Content
    kept: list[tuple[str, Content]]


CASES = {
    "saved": Case((), B, OLD, [(A, OLD)]),
    "saved again": Case((B,), C, NEW, [(B, NEW)]),
    "put back": Case((B,), A, OLD, []),
}


def ready(root: Path, case: Case) -> None:
    open_for(A, root)
    put(root, OLD)
    for image in case.ready:
        open_for(image, root)
        put(root, NEW)


def whole(root: Path) -> list[Content]:
    """Everything on the volume that can be opened, now or by going back."""
    return [content(root), *(one for _, one in saved(root))]


@KILLS
@pytest.mark.parametrize("name", CASES)
def test_killed_at_any_line_the_next_try_leaves_what_an_uninterrupted_one_would(
    name: str, tmp_path: Path, quick: None
) -> None:
    case, line, done = CASES[name], 0, False
    while not done:
        line += 1
        root = tmp_path / str(line)
        root.mkdir()
        ready(root, case)
        done = opened(case.image, root, line)
        open_for(case.image, root)
        assert (content(root), saved(root), state(root)["image"]) == (case.found, case.kept, case.image), line
        assert not [one for one in ("copying", "aside", "restoring.json") if (root / ".llmops" / one).exists()], line
    assert line > 100


@KILLS
@pytest.mark.parametrize("name", CASES)
def test_killed_at_any_line_whoever_is_asked_for_next_finds_one_images_data_whole(
    name: str, tmp_path: Path, quick: None
) -> None:
    """A person may change his mind in between, and tries may be cut off one after another."""
    case, chance = CASES[name], random.Random(name)
    for at in range(150):
        root = tmp_path / str(at)
        root.mkdir()
        ready(root, case)
        images = [case.image, *chance.choices([A, B, C], k=chance.randint(0, 3))]
        for image in images:
            opened(image, root, chance.randint(1, 400))
        image = chance.choice([A, B, C])
        open_for(image, root)
        assert content(root) in (OLD, NEW), images
        assert all(one in (OLD, NEW) for one in whole(root)), images
        assert state(root)["image"] == image


def told(root: Path, *more: str) -> tuple[int, dict[str, Any]]:
    message = root.parent / f"{root.name}.message"
    message.touch()
    status = main(["--volume", str(root), *more], message)
    return status, json.loads(message.read_text())


def test_the_operator_is_told_what_happened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began = state(root)["began"]
    assert told(root, "--image", A) == (0, {"image": A, "restored": "", "began": began, "backup": None})
    status, said = told(root, "--image", B)
    assert (status, said["backup"]["image"], said["backup"]["bytes"] > 0) == (0, A, True)
    put(root, NEW)
    status, said = told(root, "--image", A)
    assert (status, said["restored"] != "", said["backup"]) == (0, True, None)
    fills(monkeypatch, 0)
    status, said = told(root, "--image", C, "--asked", "abc")
    assert (status, said["was"], said["asked"]) == (volume.REFUSED, A, "abc")
    assert "backup: Never" in said["refused"]
    assert told(root, "--image", C, "--without-backup")[0] == 0
    with files.alone(root / ".llmops"):
        status, said = told(root, "--image", C)
    assert (status, said["image"]) == (1, C)
    assert said["failed"].startswith("its volume cannot be opened: another pod is at work on the volume")


def test_a_start_waits_for_nothing_but_the_standard_library() -> None:
    code = "import sys, llmops.retrieval.volume.__main__; print(*sorted({n.split('.')[0] for n in sys.modules}))"
    env = {**os.environ, "PYTHONPATH": "operator"}
    done = subprocess.run([sys.executable, "-Sc", code], env=env, capture_output=True, text=True, check=True)
    assert {one for one in done.stdout.split() if one not in sys.stdlib_module_names} <= {
        "__main__",
        "llmops",
        "sitecustomize",
    }
