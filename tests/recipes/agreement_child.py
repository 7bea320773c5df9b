"""In its own process: an engine on each checkpoint, one after the other, against transformers. One
line of JSON for each is printed.
"""

from __future__ import annotations

import io
import json
import random
import sys
import warnings
from itertools import islice
from typing import Any


def main(path: str) -> None:
    import torch
    from PIL import Image
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    from recipes.synthetic.questions import questions
    from recipes.synthetic.worlds import png
    from rl.core import ImageSource, Sampling
    from rl.models.load import find_spec, load_processor
    from rollouts.base import GenerateRequest, RolloutConfig
    from rollouts.engines.base import EngineStart

    processor = load_processor(path)
    banned = find_spec(path, processor).banned_ids
    has_images = hasattr(processor, "image_processor")
    config = RolloutConfig(
        max_model_len=256, max_images=1, engine={"kv_cache_gib": 0.25}, threads=1
    )
    engine = config.engine.start(
        EngineStart(
            model_path=path,
            rollout=config,
            max_pixels=None,
            banned_ids=banned,
            is_multimodal=has_images,
        )
    )
    asked = list(islice(questions("train", random.Random(0), yes_no=0.5), 6))
    prompts = [_prompt(processor, ask.prompt, has_images) for _, ask in asked]
    pictures = [png(world) for world, _ in asked]
    for index, prompt in enumerate(prompts):
        images = (ImageSource(data=pictures[index]),) if has_images else ()
        engine.add(GenerateRequest(index, str(index), prompt, images, (index,)), Sampling())
    results: list[Any] = []
    while engine.num_unfinished:
        results += engine.step()
    results.sort(key=lambda result: result.ticket)

    kind = AutoModelForImageTextToText if has_images else AutoModelForCausalLM
    model = kind.from_pretrained(path, dtype=torch.float32).eval()
    assert model.config.model_type == AutoConfig.from_pretrained(path).model_type
    fields: dict[str, Any] = {"text": prompts, "return_tensors": "pt", "padding": True}
    if has_images:
        fields["images"] = [Image.open(io.BytesIO(picture)) for picture in pictures]
    prompt = processor(**fields)  # one batch, prompts of different lengths
    worst, tokens = 0.0, 0
    for row, result in enumerate(results):
        length = int(prompt["attention_mask"][row].sum())
        ids = prompt["input_ids"][row, :length].tolist()
        assert ids == list(result.prompt_token_ids), "the two tokenise the prompt alike"
        assert result.completions[0].token_ids
    batch = _with_answers(prompt, [result.completions[0].token_ids for result in results], torch)
    with torch.no_grad():
        logits = model(**batch).logits
    logits[..., list(banned)] = -torch.inf
    for row, result in enumerate(results):
        (answer,) = result.completions
        length = len(result.prompt_token_ids)
        for offset, (token, logp) in enumerate(
            zip(answer.token_ids, answer.behavior_logps, strict=True)
        ):
            ours = logits[row, length + offset - 1].log_softmax(-1)[token].item()
            worst, tokens = max(worst, abs(ours - logp)), tokens + 1
    print(json.dumps({"path": path, "largest_difference": worst, "tokens": tokens}), flush=True)


def _prompt(processor: Any, question: str, has_images: bool) -> str:
    content = [{"type": "image"}] * has_images + [{"type": "text", "text": question}]
    messages = [{"role": "user", "content": content}]
    text: str = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return text


def _with_answers(prompt: Any, answers: list[tuple[int, ...]], torch: Any) -> dict[str, Any]:
    """The prompts' batch with each row's answer written behind its prompt."""
    lengths = prompt["attention_mask"].sum(1).tolist()
    width = max(n + len(answer) for n, answer in zip(lengths, answers, strict=True))
    batch = dict(prompt)
    for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
        if name in prompt:
            old = prompt[name]
            new = torch.zeros(len(answers), width, dtype=old.dtype)
            new[:, : old.shape[1]] = old
            batch[name] = new
    for row, (n, answer) in enumerate(zip(lengths, answers, strict=True)):
        batch["input_ids"][row, n : n + len(answer)] = torch.tensor(answer)
        batch["attention_mask"][row, n : n + len(answer)] = 1
    return batch


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for checkpoint in sys.argv[1:]:
        main(checkpoint)
