"""The work that every system gets: a model folder, rows, and the facts that a runner needs.

One file of rows serves Plumbline and ms-swift as it is; TRL's runner renames the keys. Every row
has one image and is trained once, in the same order in every system: `rows.jsonl` is what Plumbline
reads, and `ordered.jsonl` has the same rows in the order in which Plumbline's steps take them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recipes.synthetic.scenes import write_scenes
from recipes.synthetic.tiny import make_tiny
from rl.loops import epoch_order

RUN_SEED = 0
IMAGE_SIDE = 64
# Enough to put the logits of special tokens about 50 below the others.
HEAD_SCALE = 50.0

REWARD = '''"""A reward that tells any two answers apart, whatever the model says."""

from rewards.base import reward


@reward(name="spread")
def spread(text: str) -> float:
    return sum(map(ord, text)) % 97 / 97
'''


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a runner is told, as JSON. Every path is absolute.

    algorithm: sft | dpo | kto | grpo.
    prompts_per_step: rows of a step; a pair of DPO is one row.
    group_size, answer_tokens: completions of a prompt, and the tokens of each (GRPO only).
    """

    algorithm: str
    model: str
    rows: str
    ordered: str
    reward: str
    steps: int
    prompts_per_step: int
    group_size: int = 1
    answer_tokens: int = 0
    threads: int = 2
    lr: float = 1e-6

    @property
    def samples_per_step(self) -> int:
        """Rows, pairs or completions of a step: what the samples per second count."""
        return self.prompts_per_step * self.group_size


SIZES: Mapping[str, tuple[str, int, int]] = {  # case: (algorithm, prompts per step, image side)
    "sft": ("sft", 16, 64),
    "dpo": ("dpo", 8, 64),
    "kto": ("kto", 16, 64),
    "grpo": ("grpo", 8, 64),
    "grpo-128": ("grpo", 8, 128),
}
GROUP_SIZE, ANSWER_TOKENS = 8, 16


def make_work(folder: Path, case: str, *, steps: int, seed: int) -> Work:
    """Writes model, images and rows of a case below `folder`, and `work.json`."""
    algorithm, prompts, side = SIZES[case]
    folder.mkdir(parents=True, exist_ok=True)
    model = make_tiny("qwen3_vl", folder / "model", size="small")
    end_answers_with_the_end_token(model)
    if algorithm == "grpo":
        sample_no_special_tokens(model)
    num_rows = steps * prompts
    write_scenes(folder, seed=seed, sft=num_rows, rl=num_rows, select=2, report=2)
    if side != IMAGE_SIDE:
        enlarge(folder / "images", side)
    rows = make_rows(algorithm, folder, random.Random(seed))
    order = epoch_order(num_rows, seed=RUN_SEED, epoch=0)
    _write(folder / "rows.jsonl", rows)
    _write(folder / "ordered.jsonl", [rows[index] for index in order])
    (folder / "reward.py").write_text(REWARD)
    is_grpo = algorithm == "grpo"
    work = Work(
        algorithm=algorithm,
        model=str(model),
        rows=str(folder / "rows.jsonl"),
        ordered=str(folder / "ordered.jsonl"),
        reward=str(folder / "reward.py"),
        steps=steps,
        prompts_per_step=prompts,
        group_size=GROUP_SIZE if is_grpo else 1,
        answer_tokens=ANSWER_TOKENS if is_grpo else 0,
    )
    (folder / "work.json").write_text(json.dumps(asdict(work), indent=1))
    return work


def make_rows(algorithm: str, folder: Path, rng: random.Random) -> list[dict[str, Any]]:
    """The rows of an algorithm, from the scenes below `folder`, in ms-swift's format.

    The worse answer of a pair, and an answer that is labelled false, is another row's right answer.
    """
    if algorithm == "sft":
        return [_common(row, folder) for row in _read(folder / "sft.jsonl")]
    scenes = _read(folder / "rl.jsonl")
    solutions = sorted({row["solution"] for row in scenes})
    rows = []
    for number, scene in enumerate(scenes):
        row = _common(scene, folder)
        right = scene["solution"]
        wrong = rng.choice([solution for solution in solutions if solution != right])
        if algorithm == "dpo":
            row["messages"].append(_says(right))
            row["rejected_response"] = _says(wrong)["content"]
        elif algorithm == "kto":
            row["messages"].append(_says(right if number % 2 else wrong))
            row["label"] = bool(number % 2)
        rows.append(row)
    return rows


def _common(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    images = [str(folder / image) for image in row["images"]]
    return {"id": row["id"], "messages": row["messages"], "images": images}


def _says(solution: str) -> dict[str, str]:
    return {"role": "assistant", "content": f"The answer is {solution}."}


def enlarge(images: Path, side: int) -> None:
    """Makes every image of a folder `side` pixels wide and high."""
    import PIL.Image

    for file in images.iterdir():
        with PIL.Image.open(file) as opened:
            larger = opened.resize((side, side), PIL.Image.Resampling.NEAREST)
        larger.save(file)


def end_answers_with_the_end_token(model: Path) -> None:
    """Moves the line break of the folder's chat template from the end of a turn to the beginning of
    the next one; the text of a conversation stays the same.

    TRL trains whatever the template writes after a prompt, so also a line break after the end
    token. Plumbline does not. With this template both train the same tokens.
    """
    file = model / "chat_template.jinja"
    template = file.read_text()
    begin, after_turn = "{{ '<|im_start|>' + message", "{{ '\n' }}{% endfor %}"
    prompt = "{{ '<|im_start|>assistant"
    assert all(template.count(part) == 1 for part in (begin, after_turn, prompt))
    template = template.replace(begin, "{{ ('' if loop.first else '\n') + '<|im_start|>' + message")
    template = template.replace(after_turn, "{% endfor %}")
    file.write_text(template.replace(prompt, "{{ '\n<|im_start|>assistant"))


def sample_no_special_tokens(model: Path) -> None:
    """Changes the weights of a Qwen3-VL folder so that no special token is ever sampled.

    Then every answer has exactly as many tokens as the limit allows, in every system and without an
    option in any of them: an answer cannot end early, and no image placeholder can appear in it.

    It works through the first dimension of the residual stream. Ordinary tokens have 1 there in
    their embedding, special tokens -1, and no layer writes to it. So the last hidden state of an
    ordinary token is positive in that dimension, and the last norm multiplies it by a large number.
    The output head is tied to the embeddings: it adds the number to the logits of ordinary tokens,
    and subtracts it from those of special tokens.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    loaded = AutoModelForImageTextToText.from_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    text = loaded.model.language_model
    table = text.embed_tokens.weight
    unused = range(len(tokenizer), len(table))
    special = [*tokenizer.added_tokens_decoder, *unused]
    with torch.no_grad():
        for layer in text.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        table[:, 0] = 1.0
        table[special, 0] = -1.0
        text.norm.weight[0] = HEAD_SCALE
    loaded.save_pretrained(model)


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
