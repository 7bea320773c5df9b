"""Checkpoint folders: plain Hugging Face files that any tool opens, written whole or not at all.

A checkpoint is written under a temporary name beside its place, every file is synced to disk and
hashed into `manifest.json`, and the folder is then renamed into place. So a checkpoint is whole
wherever the process was killed, and `is_valid` can tell whether the disk kept it.

    write_checkpoint(folder, fill, facts={"step": 100})   # fill(path) writes the files
    set_latest(folder)                                    # the file `latest` names it
    prune(folder.parent, keep=2, best="step-000060")      # removes older ones
    newest_valid(folder.parent, holding=STATE)            # where --resume continues
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rl.errors import RunError, is_disk_full

MANIFEST = "manifest.json"
STATE = (
    "state"  # folder of a checkpoint: optimizer and all else from which training resumes exactly
)


def write_checkpoint(folder: Path, fill: Callable[[Path], None], *, facts: dict[str, Any]) -> Path:
    """Makes `folder` appear whole or not at all; returns it.

    `fill` writes the files into the temporary folder that it is given. `facts` are kept in the
    manifest. A folder that already has the name is moved away before the renaming and removed after
    it. Raises: RunError where it cannot be written.
    """
    aside = folder.with_name(f".{folder.name}.writing")
    replaced = folder.with_name(f".{folder.name}.replaced.writing")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        fill(aside)
        files = {
            str(path.relative_to(aside)): _hash_and_sync(path)
            for path in sorted(aside.rglob("*"))
            if path.is_file()
        }
        _write_synced(
            aside / MANIFEST, json.dumps({"schema": 1, **facts, "files": files}, indent=1)
        )
        shutil.rmtree(replaced, ignore_errors=True)
        if folder.exists():
            os.replace(folder, replaced)
        os.replace(aside, folder)
        _sync_folder(folder.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except (OSError, RunError) as error:
        if isinstance(error, RunError) and not is_disk_full(error):
            raise
        raise RunError(
            f"checkpoint not written: {error}",
            where=str(folder),
            do="free disk space, then continue with --resume, or choose another run.root",
        ) from error
    return folder


def set_latest(folder: Path) -> None:
    """Names `folder` as the newest checkpoint, in the file `latest` beside `checkpoints/`."""
    pointer = folder.parent.parent / "latest"
    aside = pointer.with_name(".latest.writing")
    _write_synced(aside, folder.name)
    os.replace(aside, pointer)


def is_valid(folder: Path) -> bool:
    """Whether every file that the manifest names exists and has its hash."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all(_hash(folder / name) == digest for name, digest in files.items())
    except (OSError, ValueError, KeyError):
        return False


def newest_valid(checkpoints: Path, holding: str = "") -> Path | None:
    """The newest valid checkpoint of a stage that has the folder `holding` ("": any); None where
    there is none.
    """
    found = reversed(_steps(checkpoints))
    return next((f for f in found if is_valid(f) and _is_in_manifest(f, holding)), None)


def checkpoint_facts(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint: stage, step, version and the hashes of its files."""
    facts: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return facts


def prune(checkpoints: Path, keep: int, *, best: str | None = None) -> list[Path]:
    """Removes all checkpoints of a stage except the `keep` newest and the one named `best`, and the
    temporary folders of a killed writer. Returns the removed checkpoints.
    """
    for torn in checkpoints.glob(".*.writing"):
        shutil.rmtree(torn, ignore_errors=True)
    old = [folder for folder in _steps(checkpoints)[:-keep] if folder.name != best]
    _remove(old)
    return old


def remove_after(checkpoints: Path, step: int) -> list[Path]:
    """Removes a stage's checkpoints after `step`, which are taken again; returns them."""
    later = [folder for folder in _steps(checkpoints) if _step(folder) > step]
    _remove(later)
    return later


def leave_out(folder: Path, name: str) -> None:
    """Removes the folder `name` from a checkpoint. The manifest is replaced first, so that the
    checkpoint is valid at every moment.
    """
    if not (folder / name).is_dir():
        return
    facts = checkpoint_facts(folder)
    files = {file: digest for file, digest in facts["files"].items() if not _is_in(file, name)}
    aside = folder / f".{MANIFEST}.writing"
    _write_synced(aside, json.dumps({**facts, "files": files}, indent=1))
    os.replace(aside, folder / MANIFEST)
    _sync_folder(folder)
    shutil.rmtree(folder / name)


def fingerprint(folder: Path) -> str:
    """Sixteen hex digits that identify a model folder's weights, from the hashes of its safetensors
    files. Raises: RunError where it has none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise RunError(
            "no safetensors file",
            where=str(folder),
            expected="a model folder",
            do="give the folder of a model",
        )
    return hashlib.sha256("".join(_hash(path) for path in files).encode()).hexdigest()[:16]


def files_fingerprint(folder: Path) -> str:
    """Sixteen hex digits that identify what else decides a model's answers: config, tokenizer,
    processor and chat template. The manifest and weight index that training writes are left out.
    """
    files = sorted(
        path
        for suffix in ("json", "jinja", "txt", "model")
        for path in folder.glob(f"*.{suffix}")
        if path.name != MANIFEST and not path.name.endswith(".index.json")
    )
    digests = [f"{path.name} {_hash(path)}" for path in files]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


def _steps(checkpoints: Path) -> list[Path]:
    """The checkpoints of a stage, the oldest first."""
    return sorted(checkpoints.glob("step-*"), key=_step)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        # Renamed first: a checkpoint that is only half removed must not look like one.
        aside = folder.with_name(f".{folder.name}.writing")
        os.replace(folder, aside)
        shutil.rmtree(aside)


def _is_in_manifest(folder: Path, name: str) -> bool:
    """Whether the manifest names a file in the checkpoint's folder `name`."""
    return not name or any(_is_in(file, name) for file in checkpoint_facts(folder)["files"])


def _is_in(file: str, name: str) -> bool:
    return file.startswith(f"{name}/")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_and_sync(path: Path) -> str:
    with path.open("rb+") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return digest


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
