from pathlib import Path

import pytest

from rl.errors import RunError
from rl.runs.checkpoint import (
    checkpoint_facts,
    fingerprint,
    is_valid,
    leave_out,
    newest_valid,
    prune,
    remove_after,
    set_latest,
    write_checkpoint,
)


def fill(text: str):
    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_text(text)
        (folder / "sub").mkdir()
        (folder / "sub" / "config.json").write_text("{}")

    return write


def test_a_checkpoint_appears_whole_and_hashed(tmp_path: Path) -> None:
    folder = write_checkpoint(
        tmp_path / "checkpoints" / "step-000001", fill("a"), facts={"step": 1}
    )
    assert is_valid(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["step-000001"]
    set_latest(folder)
    assert (tmp_path / "latest").read_text() == "step-000001"


def test_a_writer_that_dies_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    def die(folder: Path) -> None:
        (folder / "model.safetensors").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path / "checkpoints" / "step-000002", die, facts={})
    assert newest_valid(tmp_path / "checkpoints") is None


def test_resume_takes_the_newest_whole_one(tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    first = write_checkpoint(checkpoints / "step-000001", fill("a"), facts={})
    second = write_checkpoint(checkpoints / "step-000002", fill("b"), facts={})
    assert newest_valid(checkpoints) == second
    (second / "model.safetensors").write_text("torn")
    assert newest_valid(checkpoints) == first


def test_fingerprint_follows_the_weights(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "c" / "step-000001", fill("a"), facts={})
    before = fingerprint(folder)
    (folder / "model.safetensors").write_text("b")
    assert fingerprint(folder) != before
    with pytest.raises(RunError, match="no safetensors"):
        fingerprint(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file stands here")
    with pytest.raises(RunError, match="checkpoint not written"):
        write_checkpoint(tmp_path / "checkpoints" / "step-000001", fill("a"), facts={})


def test_prune_keeps_the_newest_and_removes_what_a_killed_writer_left(tmp_path: Path) -> None:
    for step in (2, 4, 10):
        write_checkpoint(tmp_path / f"step-{step:06d}", fill("a"), facts={"step": step})
    (tmp_path / ".step-000012.writing").mkdir()
    removed = prune(tmp_path, keep=2)
    assert [path.name for path in removed] == ["step-000002"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000004", "step-000010"]
    assert checkpoint_facts(tmp_path / "step-000010")["step"] == 10
    assert prune(tmp_path, keep=2) == []


def test_one_of_the_same_name_stays_until_its_successor_is_whole(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "step-000001", fill("a"), facts={})

    def die(aside: Path) -> None:
        fill("b")(aside)
        assert is_valid(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(folder, die, facts={})
    assert is_valid(folder)
    write_checkpoint(folder, fill("b"), facts={})
    assert is_valid(folder)
    assert (folder / "model.safetensors").read_text() == "b"
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_a_learner_that_finds_the_disk_full_is_one_line_with_advice(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        raise RunError("SafetensorError: I/O error: No space left on device (os error 28)")

    with pytest.raises(RunError, match=r"checkpoint not written.*No space left.*--resume"):
        write_checkpoint(tmp_path / "step-000001", full, facts={})


def with_state(folder: Path) -> None:
    fill("a")(folder)
    (folder / "state").mkdir()
    (folder / "state" / "optimizer.pt").write_text("moments")


def test_what_is_left_out_of_a_checkpoint_leaves_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_checkpoint(tmp_path / "step-000001", with_state, facts={"step": 1})
    assert newest_valid(tmp_path, holding="state") == folder
    with monkeypatch.context() as killed:
        killed.setattr("shutil.rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            leave_out(folder, "state")
    assert is_valid(folder)
    assert newest_valid(tmp_path, holding="state") is None  # what is left of it may be torn
    leave_out(folder, "state")
    assert is_valid(folder)
    assert not (folder / "state").exists()
    assert checkpoint_facts(folder)["step"] == 1
    leave_out(folder, "state")


def die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_repeated_stage_removes_later_checkpoints(tmp_path: Path) -> None:
    for step in (2, 4, 10):
        write_checkpoint(tmp_path / f"step-{step:06d}", fill("a"), facts={"step": step})
    assert [path.name for path in remove_after(tmp_path, 4)] == ["step-000010"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000002", "step-000004"]
    assert len(remove_after(tmp_path, 0)) == 2
    assert remove_after(tmp_path / "none", 0) == []
