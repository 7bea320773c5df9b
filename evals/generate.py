"""The first layer: asks the model and writes `responses.jsonl`. Append-only, resumable, keyed; no
scoring here.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evals.base import Benchmark, Item
from rl.core import Completion, Image, ImageSource, Message, Rollout, Sampler, Sampling
from rl.errors import DataError, EvalError

Progress = Callable[[int, int], None]  # answered, all

RESPONSES, HEADER = "responses.jsonl", "responses.header.json"
_SLICE = 512  # requests handed over at once; also the step of fsync
_THUMBNAIL = 256
_OPEN, _CLOSE = "<think>", "</think>"


@dataclass(frozen=True)
class EvalSettings:
    """What besides weights and questions decides an answer. `backend` names the engine and its
    version.
    """

    max_new_tokens: int
    max_pixels: int | None = None
    backend: str = ""
    dtype: str = ""
    chat_template: str = ""
    temperature: float = 0.0
    seed: int = 0
    images: bool = True  # False: the text-only probe


def evaluate(
    benchmark: Benchmark,
    items: Sequence[Item],
    sampler: Sampler,
    folder: Path,
    *,
    settings: EvalSettings,
    weights: str,
    progress: Progress | None = None,
    images: Path | None = None,
) -> None:
    """Answers every item and leaves `folder/responses.jsonl` in the items' order.

    `weights` is the fingerprint of the weights that answer. Items answered before under the same
    key (weights, chat template, message, image bytes, pixel limit, generation settings, backend)
    are not asked again; failures are. `images` is where the thumbnails go (default: `images` two
    folders up, shared by the run's stages). An image that cannot be decoded is an error row, not
    asked. Raises: what the sampler raises, but for a DataError of single samples, which become
    error rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    header = _header(benchmark, items, settings, weights)
    keys = {item.sample.uid: _item_key(header, item) for item in items}
    # Without a fingerprint nothing says whose the old answers are.
    answered = _reusable(folder / RESPONSES, items, keys) if weights else {}
    write_json(folder / HEADER, header)
    _write_rows(
        folder / RESPONSES, [answered[i.sample.uid] for i in items if i.sample.uid in answered]
    )

    todo = [item for item in items if item.sample.uid not in answered]
    sampling = Sampling(
        n=1,
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
        seed=settings.seed,
    )
    thumbnails = images if images is not None else folder.parents[1] / "images"
    done = len(items) - len(todo)
    with (folder / RESPONSES).open("ab") as file:
        for start in range(0, len(todo), _SLICE):
            for row in _answer(todo[start : start + _SLICE], sampler, sampling, thumbnails):
                row["key"] = keys[row["sample_id"]]
                answered[row["sample_id"]] = row
                file.write(json_line(row))
            file.flush()
            os.fsync(file.fileno())
            done = min(len(items), done + _SLICE)
            if progress is not None:
                progress(done, len(items))
    # In the items' order whatever was resumed: pairs of questions stay together.
    _write_rows(folder / RESPONSES, [answered[item.sample.uid] for item in items])


def read_responses(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header and the rows of an evaluation's folder. Raises: EvalError where there is none."""
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        lines = (folder / RESPONSES).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise EvalError("no responses", where=str(folder), do="evaluate the stage first") from error
    return header, [json.loads(line) for line in lines if line.strip()]


def split_reasoning(text: str) -> tuple[str, str, bool]:
    """(reasoning, answer, is_closed). A lone closing tag ends the reasoning; an unclosed opening
    one leaves no answer.

    >>> split_reasoning("<think>a cat</think>Yes"), split_reasoning("<think>a c"),
    split_reasoning("Yes")
    (('a cat', 'Yes', True), ('a c', '', False), ('', 'Yes', True))
    """
    before, closed, after = text.rpartition(_CLOSE)
    if closed:
        return before.replace(_OPEN, "").strip(), after.lstrip(), True
    if text.lstrip().startswith(_OPEN):
        return text.lstrip().removeprefix(_OPEN).strip(), "", False
    return "", text, True


def _answer(
    items: Sequence[Item], sampler: Sampler, sampling: Sampling, thumbnails: Path
) -> Iterator[dict[str, Any]]:
    """A row for each item, errors first."""
    asked = []
    for item in items:
        if problem := _undecodable(item, thumbnails):
            yield {**_facts(item), "response": None, "error": problem}
        else:
            asked.append(item)
    start = time.monotonic()
    answers = _sample(asked, sampler, sampling)
    seconds = (time.monotonic() - start) / max(1, len(asked))
    for item, answer in zip(asked, answers, strict=True):
        row = {**_facts(item), **_response(answer)}
        row["seconds"] = round(seconds, 6)
        yield row


def _sample(
    items: Sequence[Item], sampler: Sampler, sampling: Sampling
) -> list[Rollout | DataError]:
    """A rollout for each item; where a request cannot be made of a sample, its DataError."""
    if not items:
        return []
    try:
        rollouts = sampler.sample([item.sample for item in items], sampling)
    except DataError as error:
        if len(items) == 1:
            return [error]
        half = len(items) // 2
        return [
            *_sample(items[:half], sampler, sampling),
            *_sample(items[half:], sampler, sampling),
        ]
    uids = [item.sample.uid for item in items]
    if [rollout.sample.uid for rollout in rollouts] != uids:
        raise EvalError("the sampler gave other samples, or another order", where="evaluate")
    return list(rollouts)


def _response(answer: Rollout | DataError) -> dict[str, Any]:
    if isinstance(answer, DataError):
        return {"response": None, "error": answer.line()}
    completion: Completion = answer.completions[0]
    if completion.finish_reason == "abort":
        return {"response": None, "error": "the engine aborted the request"}
    reasoning, text, is_closed = split_reasoning(completion.text)
    row: dict[str, Any] = {
        "response": text,
        "finish_reason": completion.finish_reason,
        "num_tokens": len(completion.token_ids),
        "prompt_tokens": len(answer.prompt_token_ids),
    }
    if reasoning or not is_closed:
        row["reasoning"] = reasoning
    if not is_closed:
        row["is_truncated"] = True
    return row


def _facts(item: Item) -> dict[str, Any]:
    return {
        "sample_id": item.sample.uid,
        "cluster_id": item.cluster_id,
        "part": item.part,
        "category": item.category,
        "question": item.question,
        "references": list(item.sample.references),
        "prompt_hash": _digest(_messages(item)),
        "images": [image.sha256 for image in item.sample.images],
        **item.columns,
    }


def _undecodable(item: Item, thumbnails: Path) -> str:
    """Writes the images' thumbnails (longest side at most 256 pixels); the problem of one that
    cannot be decoded.
    """
    for image in item.sample.images:
        try:
            _thumbnail(image, thumbnails)
        except (OSError, ValueError, SyntaxError, DataError) as error:
            return f"image cannot be decoded: {' '.join(str(error).split())[:200]}"
    return ""


def _thumbnail(image: ImageSource, folder: Path) -> None:
    path = folder / f"{image.sha256}.png"
    if path.exists():
        return
    from PIL import Image as Pillow

    folder.mkdir(parents=True, exist_ok=True)
    with Pillow.open(io.BytesIO(image.read())) as opened:
        small = opened.convert("RGB")
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    partial = path.with_suffix(f".{os.getpid()}.partial")
    small.save(partial, format="PNG")
    partial.replace(path)


def _header(
    benchmark: Benchmark, items: Sequence[Item], settings: EvalSettings, weights: str
) -> dict[str, Any]:
    prompts = sorted({json.dumps(_messages(item)) for item in items})
    data = [
        [item.sample.uid, item.part, item.question, *item.sample.references, *_hashes(item)]
        for item in items
    ]
    fixed = asdict(settings) | {"chat_template": _digest(settings.chat_template)}
    return {
        "schema": 1,
        "benchmark": benchmark.id,
        "version": benchmark.version,
        "weights": weights,
        "settings": {
            "prompt_hash": _digest(prompts),
            "data_fingerprint": _digest(data),
            "data_path": ", ".join(dict.fromkeys(item.origin for item in items)),
            **fixed,
        },
        "key": _digest([weights, fixed]),
    }


def _item_key(header: Mapping[str, Any], item: Item) -> str:
    return _digest([header["key"], _messages(item), _hashes(item)])


def _messages(item: Item) -> list[Any]:
    return [_plain_message(message) for message in item.sample.messages]


def _plain_message(message: Message) -> list[Any]:
    parts = [part.index if isinstance(part, Image) else part.text for part in message.parts]
    return [message.role, *parts]


def _hashes(item: Item) -> list[str]:
    return [image.sha256 for image in item.sample.images]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _reusable(
    file: Path, items: Sequence[Item], keys: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """The rows answered before under the same key. A last line that a crash tore is no row."""
    if not file.exists():
        return {}
    by_uid = {item.sample.uid: item for item in items}
    kept: dict[str, dict[str, Any]] = {}
    for line in file.read_bytes().decode("utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line) if line.strip() else {}
        except ValueError:
            continue
        uid = row.get("sample_id")
        if uid in by_uid and row.get("key") == keys[uid] and not row.get("error"):
            kept[uid] = {**row, **_facts(by_uid[uid])}
    return kept


def json_line(row: Mapping[str, Any]) -> bytes:
    """One row of a JSONL file; text that UTF-8 cannot hold (a lone surrogate) is escaped."""
    try:
        return (json.dumps(row, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(row) + "\n").encode()


def _write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    replace_file(file, b"".join(map(json_line, rows)))


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Writes indented JSON, whole or not at all."""
    replace_file(file, json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")


def replace_file(file: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    partial.replace(file)
