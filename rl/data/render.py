"""Records to trees of token ids, through the model's own chat template.

The prompt becomes the trunk of a tree: it is rendered as text, tokenised in one go, and each image
placeholder is repeated to the number of tokens that its image takes. Each answer becomes a branch:
its own tokens and the end-of-turn token. Where earlier assistant turns are trained, character spans
of the rendered text say which of the trunk's tokens carry loss.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rl.core import (
    Answer,
    Image,
    ImageSource,
    Labelled,
    Message,
    Preference,
    Rollout,
    Sample,
    Score,
    Text,
)
from rl.data.images import image_size
from rl.data.rows import Reading
from rl.data.tree import Branch, Tree, images_in_order, prompt_messages, rollout_tree
from rl.errors import DataError, ModelError
from rl.models.spec import ModelSpec

GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
Span = tuple[int, int]


@dataclass(frozen=True)
class Rendered:
    """A chat as text. spans: where in it the trained characters of each assistant turn are, as
    (start, end); None where the template does not mark them."""

    text: str
    spans: tuple[Span, ...] | None


class Renderer:
    """Makes trees with one chat template, the processor's.

    A trunk is tokenised in one go, exactly as an inference engine tokenises `prompt_text`; a branch
    is the answer's own tokens and the end-of-turn token. Answers that carry token ids (sampled
    ones) are taken as they are, and never decoded and tokenised again.

    max_length: limit of the tokens of a trunk and its longest branch; every method that makes a
        tree raises a DataError beyond it.

        renderer = Renderer(load_processor("models/base"), spec, max_length=2048)
        tree = renderer.demonstration_tree(sample)      # SFT: one prompt, one answer
        tree = renderer.preference_tree(preference)     # DPO: one prompt, chosen and rejected
        tree = renderer.rollout_tree(rollout, scores)   # GRPO: one prompt, its sampled answers
    """

    def __init__(self, processor: Any, spec: ModelSpec, max_length: int) -> None:
        self.processor, self.spec, self.max_length = processor, spec, max_length
        self.tokenizer = spec.tokenizer
        self.template = getattr(processor, "chat_template", None) or self.tokenizer.chat_template
        if not isinstance(self.template, str):
            raise ModelError(
                "the processor has no chat template", do="add chat_template.jinja to the folder"
            )
        self.marks_spans = GENERATION.search(self.template) is not None
        self.end_text: str = self.tokenizer.convert_ids_to_tokens(spec.end_id)

    # -- prompts

    def prompt_text(self, sample: Sample) -> str:
        """The prompt as an inference engine gets it: one placeholder for each image, up to where
        the answer begins."""
        return self._render(prompt_messages(sample), sample.uid, open_turn=True).text

    def prompt_ids(self, sample: Sample) -> tuple[int, ...]:
        """The prompt's tokens, every placeholder repeated to its image's length."""
        return self._trunk(sample, train=False)[0]

    def text_ids(self, text: str, images: Sequence[ImageSource], uid: str) -> tuple[int, ...]:
        """The tokens of `prompt_text`, every placeholder repeated to its image's length: the same
        ids as `prompt_ids`. An engine that tokenises prompts by itself calls this.

        Raises: DataError if the text has not one placeholder for each image.
        """
        ids = self.tokenizer(text, add_special_tokens=self._adds_special_tokens(text))["input_ids"]
        return self._expand(ids, [False] * len(ids), images, uid)[0]

    # -- trees

    def make_tree(self, reading: Reading, record: Any) -> Tree:
        """A record as a tree, by how its row was read. For sampled answers there is
        `rollout_tree`."""
        make: dict[str, Callable[[Any], Tree]] = {
            "demonstration": self.demonstration_tree,
            "preference": self.preference_tree,
            "labelled": self.labelled_tree,
        }
        return make[reading](record)

    def demonstration_tree(self, sample: Sample) -> Tree:
        """One branch, the last assistant turn. Earlier assistant turns are trained in the trunk.

        Raises: DataError where there is no answer, or an image inside it.
        """
        if not sample.messages or sample.messages[-1].role != "assistant":
            raise DataError(
                "no answer to learn",
                where=sample.uid,
                expected="an assistant turn at the end",
                do="add the answer as the last turn",
            )
        last = sample.messages[-1]
        if any(isinstance(part, Image) for part in last.parts):
            raise DataError(
                "an image inside an answer",
                where=sample.uid,
                expected="text only",
                do="take the image out of the answer",
            )
        trunk_ids, trained, images = self._trunk(sample, train=True)
        ids = self._answer_ids(sample, Answer(last.text))
        branch = Branch(
            uid=f"{sample.uid}/0",
            token_ids=ids,
            trained=(False,) * len(ids) if last.loss is False else None,
        )
        tree = Tree(
            uid=sample.uid,
            trunk_ids=trunk_ids,
            images=images,
            branches=(branch,),
            trunk_trained=trained if any(trained) else None,
        )
        return self._checked(tree)

    def preference_tree(self, preference: Preference) -> Tree:
        """Two branches: the chosen answer, then the rejected one."""
        sample = preference.sample
        trunk_ids, _, images = self._trunk(sample, train=False)
        pairs = (("chosen", preference.chosen), ("rejected", preference.rejected))
        branches = tuple(
            Branch(
                uid=f"{sample.uid}/{name}",
                token_ids=self._answer_ids(sample, answer),
                columns={"label": name == "chosen"},
            )
            for name, answer in pairs
        )
        tree = Tree(
            uid=sample.uid, trunk_ids=trunk_ids, images=images, branches=branches, is_pair=True
        )
        return self._checked(tree)

    def labelled_tree(self, labelled: Labelled) -> Tree:
        """One branch, with the column `label`: whether the answer is desirable."""
        sample = labelled.sample
        trunk_ids, _, images = self._trunk(sample, train=False)
        branch = Branch(
            uid=f"{sample.uid}/0",
            token_ids=self._answer_ids(sample, labelled.answer),
            columns={"label": labelled.label},
        )
        tree = Tree(uid=sample.uid, trunk_ids=trunk_ids, images=images, branches=(branch,))
        return self._checked(tree)

    def rollout_tree(self, rollout: Rollout, scores: Sequence[Score]) -> Tree:
        """One branch for each sampled answer; every token id is the one that the engine
        returned."""
        return self._checked(rollout_tree(rollout, scores))

    # -- the trunk

    def _trunk(
        self, sample: Sample, *, train: bool
    ) -> tuple[tuple[int, ...], tuple[bool, ...], tuple[ImageSource, ...]]:
        """(token ids with placeholders expanded, which of them are trained, the images in the order
        of their placeholders).

        train: whether earlier assistant turns carry loss. Which tokens they are follows from
            character offsets: a token is trained where its first character is inside a span.
        """
        messages = prompt_messages(sample)
        rendered = self._render(messages, sample.uid, open_turn=True)
        images = images_in_order(sample, messages)
        turns = [message for message in messages if message.role == "assistant"]
        wanted = train and any(turn.loss is not False for turn in turns)
        spans = self._turn_spans(messages, rendered, sample.uid) if wanted else ()
        spans = tuple(s for s, turn in zip(spans, turns, strict=False) if turn.loss is not False)
        encoded = self.tokenizer(
            rendered.text,
            add_special_tokens=self._adds_special_tokens(rendered.text),
            return_offsets_mapping=bool(spans),
        )
        ids = encoded["input_ids"]
        starts = [start for start, _ in encoded["offset_mapping"]] if spans else [-1] * len(ids)
        trained = [any(a <= start < b for a, b in spans) for start in starts]
        return *self._expand(ids, trained, images, sample.uid), images

    def _expand(
        self,
        ids: Sequence[int],
        trained: Sequence[bool],
        images: Sequence[ImageSource],
        uid: str,
    ) -> tuple[tuple[int, ...], tuple[bool, ...]]:
        placeholder = self.spec.image_token_id
        found = sum(i == placeholder for i in ids)
        if found != len(images):
            raise DataError(
                f"{found} image placeholders in the rendered prompt, {len(images)} images",
                where=uid,
                expected="one an image",
                do="remove placeholder tokens from the text; mark images with <image>",
            )
        if not images:
            return tuple(ids), tuple(trained)
        lengths = iter([self.spec.num_image_tokens(*image_size(image)) for image in images])
        out_ids: list[int] = []
        out_trained: list[bool] = []
        for token, is_trained in zip(ids, trained, strict=True):
            repeat = next(lengths) if token == placeholder else 1
            out_ids += [token] * repeat
            out_trained += [is_trained] * repeat
        return tuple(out_ids), tuple(out_trained)

    def _adds_special_tokens(self, text: str) -> bool:
        """False where the template writes the BOS token itself, as in transformers' processors: the
        tokenizer would add a second one."""
        bos = self.tokenizer.bos_token
        return bos is None or not text.startswith(bos)

    # -- answers

    def _answer_ids(self, sample: Sample, answer: Answer) -> tuple[int, ...]:
        if answer.token_ids is not None:
            return answer.token_ids
        if not answer.text:
            raise DataError(
                "an empty answer",
                where=sample.uid,
                expected="text to learn",
                do="fill the answer, or remove the row",
            )
        text = self._answer_text(sample, answer.text)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if self.spec.image_token_id in ids:
            raise DataError(
                "an image placeholder inside an answer",
                where=sample.uid,
                do="take the placeholder out of the answer",
            )
        return (*ids, self.spec.end_id)

    def _answer_text(self, sample: Sample, text: str) -> str:
        """The answer as the template writes it after the prompt, up to the end-of-turn token.

        It may differ from the text: templates add a space or a newline. Where the template does not
        continue the opened turn, the text is taken as it is.
        """
        prompt = prompt_messages(sample)
        opened = self._render(prompt, sample.uid, open_turn=True).text
        turn = Message(role="assistant", parts=(Text(text),))
        closed = self._render((*prompt, turn), sample.uid, open_turn=False).text
        if not closed.startswith(opened):
            return text
        rest = closed[len(opened) :]
        end = rest.rfind(self.end_text)
        return rest[:end] if end >= 0 else rest.rstrip("\n")

    # -- templates

    def _render(self, messages: Sequence[Message], uid: str, *, open_turn: bool) -> Rendered:
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            texts, spans = render_jinja_template(
                conversations=[[self._for_template(message) for message in messages]],
                chat_template=self.template,
                add_generation_prompt=open_turn,
                return_assistant_tokens_mask=self.marks_spans,
                **self.tokenizer.special_tokens_map,
            )
        except (TemplateError, TypeError) as error:
            raise DataError(
                f"the chat template refuses the messages: {error}",
                where=uid,
                do="check roles and their order against the model's chat template",
            ) from error
        return Rendered(texts[0], tuple(spans[0]) if self.marks_spans else None)

    def _for_template(self, message: Message) -> dict[str, Any]:
        if not self.spec.has_vision:
            return {"role": message.role, "content": message.text}
        content = [
            {"type": "image"} if isinstance(part, Image) else {"type": "text", "text": part.text}
            for part in message.parts
        ]
        return {"role": message.role, "content": content}

    def _turn_spans(
        self, messages: Sequence[Message], rendered: Rendered, uid: str
    ) -> tuple[Span, ...]:
        """One span of trained characters for each assistant turn, its end token included."""
        turns = [i for i, message in enumerate(messages) if message.role == "assistant"]
        if rendered.spans is not None:
            if len(rendered.spans) != len(turns):
                raise ModelError(
                    f"the template marks {len(rendered.spans)} assistant turns of {len(turns)}",
                    where=uid,
                    do="mark every assistant turn with {% generation %}, or set loss: false",
                )
            return tuple((a, self._with_end(rendered.text, b)) for a, b in rendered.spans)
        return tuple(self._span_by_prefix(messages, i, rendered.text, uid) for i in turns)

    def _with_end(self, text: str, end: int) -> int:
        """The end of a span, moved behind the end token where the span stops just before it: a
        model that is not trained on it would not learn to stop."""
        return end + len(self.end_text) if text.startswith(self.end_text, end) else end

    def _span_by_prefix(self, messages: Sequence[Message], turn: int, text: str, uid: str) -> Span:
        """For templates without spans: the turn's span is what it adds to the rendered chat before
        it.

        Raises: ModelError where the chat up to a turn is not the beginning of the whole chat.
        """
        opened = self._render(messages[:turn], uid, open_turn=True).text
        closed = self._render(messages[: turn + 1], uid, open_turn=False).text
        if not (closed.startswith(opened) and text.startswith(closed)):
            raise ModelError(
                "the template neither marks assistant turns nor writes them one by one",
                where=uid,
                do="add {% generation %} spans to it, or set loss: false on earlier turns",
            )
        end = closed.rfind(self.end_text)
        return len(opened), (end + len(self.end_text)) if end >= len(opened) else len(closed)

    def _checked(self, tree: Tree) -> Tree:
        longest = max((len(branch.token_ids) for branch in tree.branches), default=0)
        length = len(tree.trunk_ids) + longest
        if length > self.max_length:
            raise DataError(
                f"{length} tokens ({len(tree.trunk_ids)} prompt, {longest} answer)",
                where=tree.uid,
                expected=f"at most max_length = {self.max_length}",
                do="raise max_length, lower max_pixels, or drop the row",
            )
        return tree
