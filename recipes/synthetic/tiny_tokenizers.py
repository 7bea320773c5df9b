"""Tokenizers and chat templates of the tiny checkpoints, trained on the scenes' text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MAX_POSITIONS = 2048

# Chat templates, with CONTENT and IMAGE to be filled in. A generation span, from which the trained
# tokens are read, is the answer with its end token.
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}CONTENT<|im_end|>{% endgeneration %}"
    "{% else %}CONTENT<|im_end|>{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
VICUNA = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}CONTENT {% elif message['role'] == 'assistant' %}"
    "ASSISTANT:{% generation %} CONTENT</s>{% endgeneration %}"
    "{% else %}USER: CONTENT {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
CONTENT = (
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
)


def chat_template(turns: str, image: str) -> str:
    """The template of these turns, in which `image` is the placeholder of a picture."""
    return turns.replace("CONTENT", CONTENT.replace("IMAGE", image))


CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN_VISION_TOKENS = (
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
LLAVA_TOKENS = ("<unk>", "<s>", "</s>", "<pad>", "<image>")


def byte_tokenizer(special: tuple[str, ...], template: str, vocab: int, **names: Any) -> Any:
    """A byte-level BPE of at most `vocab` tokens, trained on the scenes' text: their words are one
    token each, and any other text can be written too. `names`: its special tokens by role.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from recipes.synthetic.questions import corpus

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text: Iterable[str] = [*corpus(), "user assistant system USER: ASSISTANT:\n"]
    bpe.train_from_iterator(text, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, model_max_length=MAX_POSITIONS, padding_side="right", **names
    )
    tokenizer.chat_template = template
    return tokenizer


def chatml_tokenizer(vocab: int, *, vision: bool) -> Any:
    """The tokenizer of a Qwen or text-only model, with ChatML turns that end in `<|im_end|>`."""
    names: dict[str, Any] = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    special: tuple[str, ...] = CHATML_TOKENS
    if vision:
        special += QWEN_VISION_TOKENS
        names["extra_special_tokens"] = {
            "image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
            "vision_start_token": "<|vision_start|>",
            "vision_end_token": "<|vision_end|>",
        }
    return byte_tokenizer(special, chat_template(CHATML, QWEN_IMAGE), vocab, **names)
