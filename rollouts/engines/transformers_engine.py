"""The models of Hugging Face transformers with a token loop of our own, in the worker's process.

It serves every family of rl/models/families, also those that vLLM has no class or no CPU kernel
for, and computes with the same modules as the learner. It is slower than vLLM where many answers
are sampled at once.

How it samples: a prompt is computed alone, so its keys and values do not depend on what else is
sampled. They are copied into one row of the cache for each of its completions. Then all rows
compute one token at a time. Rows are aligned at their first token and masked behind their last, so
that a row sees its own tokens alone. `generate` of transformers is not used: it draws all rows from
one random generator, and a completion would then depend on the others.

Shapes: R rows (completions under way), L tokens of a prompt, K tokens of the longest row, H key
heads, E width of a head, D width of the model, V vocabulary, A position axes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from rl.core import Completion, Sampling
from rl.errors import DataError, RolloutError, errors_as
from rollouts.base import GenerateRequest, GenerateResult
from rollouts.engines.base import Engine, EngineConfig, EngineFault, EngineStart

if TYPE_CHECKING:
    from torch import Tensor

    from rl.learners.base import LearnerConfig
    from rollouts.base import RolloutConfig

_GIB = 2**30
_WORK_BYTES = 2.0 * _GIB  # activations and logits, on a GPU
_BLOCK = 64  # the cache grows by so many tokens


class Transformers(EngineConfig):
    """The settings of the transformers engine.

    rollout:
      engine: {name: transformers, kv_cache_gib: 2}

    An engine on a GPU takes the whole GPU (`unverified`: no test ran it on one).
    """

    name: ClassVar[str] = "transformers"

    attention: Literal["sdpa", "eager"] = Field(
        "sdpa", description="How transformers computes attention; `eager` needs more memory."
    )
    kv_cache_gib: float = Field(
        1.0,
        gt=0,
        description="Memory for keys and values. Fewer answers run at once where it is small, and "
        "always at least one.",
    )

    def start(self, start: EngineStart) -> Engine:
        return TransformersEngine(self, start)

    @property
    def identity(self) -> str:
        return f"transformers {version('transformers')}"

    def memory(self, weights: float, gpu_gib: float | None) -> dict[str, float]:
        work = {} if gpu_gib is None else {"work": _WORK_BYTES}
        return {"weights": weights, **work, "KV cache": self.kv_cache_gib * _GIB}

    def fault(self, learner: LearnerConfig, rollout: RolloutConfig) -> EngineFault | None:
        if rollout.gpus <= 1:
            return None
        what = f"{rollout.gpus:g} GPUs for an engine that runs on one"
        return EngineFault("rollout.gpus", what, "set rollout.gpus: 1 and more rollout.workers")

    def environment(self, threads: int) -> dict[str, str]:
        # The threads of OpenMP would spin between many short kernels and take the learner's core.
        return {**super().environment(threads), "OMP_WAIT_POLICY": "PASSIVE"}


class TransformersEngine:
    """One model with its rows under way: a rollouts.engines.base.Engine.

        engine = TransformersEngine(Transformers(kv_cache_gib=0.5), start)
        engine.add(request, sampling)           # one prompt, a completion for each of its seeds
        while engine.num_unfinished:
            results = engine.step()             # one more token of every row

        engine.load_weights(path)               # no cache outlives a request: nothing to reset

    Raises: RolloutError if the model does not load, or has layers of another kind than full or
    sliding-window attention.
    """

    def __init__(self, settings: Transformers, start: EngineStart) -> None:
        import torch

        from rl.data.render import Renderer
        from rl.models.load import find_spec, load_model, load_processor

        torch.set_num_threads(start.rollout.threads)
        self._limits, self._kv_bytes = start.rollout, settings.kv_cache_gib * _GIB
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with errors_as(
            RolloutError,
            "the transformers engine did not start: {error}",
            where=start.model_path,
            do="open the folder with AutoModel.from_pretrained",
        ):
            processor = load_processor(start.model_path, start.max_pixels)
            self._spec = find_spec(start.model_path, processor)
            model = load_model(start.model_path, start.rollout.dtype, attention=settings.attention)
        if self._spec.layout != "tree":
            raise RolloutError(
                f"the model has layers of the kind {', '.join(sorted(self._spec.layer_types))}",
                where=start.model_path,
                expected="full or sliding-window attention",
                do="choose another engine under rollout.engine",
            )
        self._model = model.to(self._device).eval().requires_grad_(requires_grad=False)
        self._renderer = Renderer(processor, self._spec, max_length=start.rollout.max_model_len)
        self._banned = torch.tensor(list(start.banned_ids), dtype=torch.long, device=self._device)
        self._stop_ids = _stop_ids(self._spec.tokenizer, self._model)
        self._weights = _weights_in_place(self._model)
        self._waiting: deque[_Group] = deque()
        self._rows: list[_Row] = []
        self._cache = _RowCache()
        self._version = 0

    @property
    def num_unfinished(self) -> int:
        """Completions under way or waiting."""
        return len(self._rows) + sum(group.num_waiting for group in self._waiting)

    def add(self, request: GenerateRequest, sampling: Sampling) -> None:
        """Queues every completion of a request.

        Raises: DataError if an image does not open or the prompt is too long; RolloutError if the
        sampling cuts the distribution's tail.
        """
        from rl.data.images import open_image

        if sampling.top_p != 1.0 or sampling.top_k != 0:
            raise RolloutError(
                f"top_p = {sampling.top_p}, top_k = {sampling.top_k}",
                where=request.uid,
                expected="the whole distribution: top_p = 1, top_k = 0",
                do="set rollout.engine: vllm, or leave both out",
            )
        if len(request.images) > self._limits.max_images:
            raise DataError(
                f"{len(request.images)} images in one prompt",
                where=request.uid,
                expected=f"at most rollout.max_images = {self._limits.max_images}",
                do="raise rollout.max_images, or remove images from the row",
            )
        pixels = [self._spec.pixels([open_image(image)])[0] for image in request.images]
        ids = self._renderer.text_ids(request.prompt, request.images, request.uid)
        longest = self._limits.max_model_len
        if not 0 < len(ids) < longest:
            raise DataError(
                f"a prompt of {len(ids)} tokens; the maximum context length is {longest} tokens",
                where=request.uid,
                expected="at least one token of prompt and one of answer",
                do="raise rollout.max_model_len, lower model.max_pixels, or drop the row",
            )
        tokens = min(sampling.max_new_tokens, longest - len(ids))
        self._waiting.append(_Group(request, sampling, ids, pixels, tokens))

    def step(self) -> list[GenerateResult]:
        """Starts waiting completions while there is room, computes one more token of every row,
        and returns the groups that are complete."""
        import torch

        with torch.inference_mode():
            done = self._admit()
            return done + self._advance() if self._rows else done

    def abort(self) -> None:
        """Ends all unfinished requests. Their results are lost."""
        self._waiting.clear()
        self._rows.clear()
        self._cache = _RowCache()

    def load_weights(self, path: str) -> None:
        """Copies the weights of a file, or of a checkpoint folder, into the model. All of them are
        checked before the first is written.

        Raises: RolloutError if weights are missing, or one has another shape.
        """
        import torch
        from safetensors import safe_open

        from rl.models.load import weight_files

        with ExitStack() as files, torch.no_grad():
            file_of: dict[str, Any] = {}
            for part in weight_files(Path(path)):
                file = files.enter_context(
                    safe_open(part, framework="pt", device=str(self._device))
                )
                file_of |= dict.fromkeys(file.keys(), file)
            missing = sorted(set(self._weights) - set(file_of))
            if missing:
                raise RolloutError(
                    f"{len(missing)} weights are missing, {missing[0]} first",
                    where=path,
                    expected="every name of the checkpoint that the engine started from",
                    do="publish under the checkpoint file's own names",
                )
            for name, weight in self._weights.items():
                shape = tuple(file_of[name].get_slice(name).get_shape())
                if shape != tuple(weight.shape):
                    raise RolloutError(
                        f"{name} has the shape {shape}",
                        where=path,
                        expected=f"{tuple(weight.shape)}",
                        do="publish weights of the model that the engine started from",
                    )
            for name, weight in self._weights.items():
                weight.copy_(file_of[name].get_tensor(name))

    def reset_caches(self) -> None:
        """Does nothing: keys, values and image features live no longer than their request, and
        `load_weights` is only called after `abort`."""

    def set_version(self, version: int) -> None:
        """Sets the weight version that tokens sampled from now on are labelled with."""
        self._version = version

    def remedy(self, name: str) -> None:
        """Raises: RolloutError. The engine has no remedies of its own."""
        raise RolloutError(
            f"the transformers engine has no remedy {name!r}", do="load the weights again"
        )

    def is_dead(self, error: BaseException) -> bool:
        """Whether the GPU reported an error after which no kernel runs in this process."""
        import torch

        return isinstance(error, torch.AcceleratorError)

    # -- the token loop

    def _admit(self) -> list[GenerateResult]:
        """Gives free rows to waiting completions, in their order, and samples their first tokens
        from the prompt's last logits."""
        done: list[GenerateResult] = []
        while self._waiting and len(self._rows) < self._limits.max_num_seqs:
            group = self._waiting[0]
            if group.prompt is None:
                group.prompt = self._compute_prompt(group)
            count = self._num_fitting(group, group.prompt)
            if count == 0:
                break
            rows = group.start(count)
            longest = max(row.group.longest for row in (*self._rows, *rows))
            room = self._room(longest, group.prompt)
            self._cache.add(group.prompt.cache, count, len(self._rows), longest=longest, room=room)
            self._rows += rows
            self._sample(group.prompt.logits_1V.expand(count, -1), rows)
            if group.num_waiting == 0:
                group.prompt = None  # its rows have copies
                self._waiting.popleft()
            done += self._remove_finished()
        return done

    def _num_fitting(self, group: _Group, prompt: _Prompt) -> int:
        """How many of a group's completions may start now, each of them to its longest length."""
        longest = max([group.longest, *(row.group.longest for row in self._rows)])
        free = self._room(longest, prompt) - len(self._rows)
        return max(0, min(free, group.num_waiting))

    def _room(self, longest: int, prompt: _Prompt) -> int:
        """How many rows of this length the cache may have."""
        rows = int(self._kv_bytes // (prompt.cache.bytes_per_token * _rounded(longest)))
        return min(max(rows, 1), self._limits.max_num_seqs)

    def _compute_prompt(self, group: _Group) -> _Prompt:
        import torch

        ids, device = group.ids, self._device
        depth_1L = torch.arange(len(ids), device=device)[None]
        sees_1LL = depth_1L[:, :, None] >= depth_1L[:, None, :]
        positions_AL = self._spec.positions(ids, group.pixels).to(device)
        inputs: dict[str, Any] = {}
        if group.pixels:
            fields = {
                name: torch.cat([pixels[name] for pixels in group.pixels]).to(device)
                for name in group.pixels[0]
            }
            order = range(len(group.pixels))
            features = self._spec.encode_images(self._model.model, fields, order)
            inputs["mm_encoder_outputs"] = {"image": features}
        cache = _PromptCache()
        logits_1V = self._forward(
            torch.tensor([ids], device=device),
            self._spec.attention(sees_1LL, depth_1L, self._model.dtype),
            positions_AL[:, None],
            cache,
            **inputs,
        )
        group.next_position = int(positions_AL.max()) + 1
        group.pixels = ()  # no longer needed, and large
        return _Prompt(cache, logits_1V)

    def _advance(self) -> list[GenerateResult]:
        """Computes the last token of every row, and samples the next."""
        import torch

        rows, device = self._rows, self._device
        ids_R1 = torch.tensor([[row.ids[-1]] for row in rows], device=device)
        length_R = torch.tensor([row.num_cached for row in rows], device=device)
        position_R = torch.tensor([row.position for row in rows], device=device)
        self._cache.begin_token(length_R, longest=max(row.num_cached for row in rows) + 1)
        axes = self._spec.positions((0,), ()).shape[0]
        logits_RV = self._forward(
            ids_R1,
            self._token_mask(length_R, self._cache.width),
            position_R[None, :, None].expand(axes, -1, -1),
            self._cache,
        )
        self._sample(logits_RV, rows)
        return self._remove_finished()

    def _token_mask(self, length_R: Tensor, width: int) -> Any:
        """The masks [R, 1, 1, K] of the newest token of every row, which is `length_R` tokens
        behind its first.

        `spec.attention` makes square masks for rows of tokens. Every pair (a key, the newest token)
        is given to it as a row of two tokens, so that a family's own rule (a window) applies.
        """
        import torch

        key_RK = torch.arange(width, device=length_R.device).expand(len(length_R), -1)
        query_RK = length_R[:, None].expand(-1, width)
        sees_P22 = torch.zeros((query_RK.numel(), 2, 2), dtype=torch.bool, device=length_R.device)
        sees_P22[:, 1, 0] = (key_RK <= query_RK).flatten()
        depth_P2 = torch.stack([key_RK.flatten(), query_RK.flatten()], dim=1)
        masks = self._spec.attention(sees_P22, depth_P2, self._model.dtype)

        def of_rows(mask_P122: Tensor) -> Tensor:
            return mask_P122[:, 0, 1, 0].reshape(len(length_R), 1, 1, width)

        if isinstance(masks, Mapping):
            return {kind: of_rows(mask) for kind, mask in masks.items()}
        return of_rows(masks)

    def _forward(
        self, ids_RT: Tensor, mask: Any, positions_ART: Tensor, cache: Any, **inputs: Any
    ) -> Tensor:
        """The logits [R, V] of the last token of each row, in float32. Those of a prompt's other
        tokens are never computed."""
        hidden_RTD = self._model.model(
            input_ids=ids_RT,
            attention_mask=mask,
            position_ids=positions_ART[0] if len(positions_ART) == 1 else positions_ART,
            past_key_values=cache,
            use_cache=True,
            **inputs,
        ).last_hidden_state
        logits_RV: Tensor = self._model.get_output_embeddings()(hidden_RTD[:, -1]).float()
        return logits_RV

    def _sample(self, logits_RV: Tensor, rows: Sequence[_Row]) -> None:
        """Draws the next token of each row, or takes the likeliest at temperature 0.

        A row's token is where its own uniform number falls in the cumulated probabilities: rounding
        changes it only if the number lies on the border between two tokens. float64, because in
        float32 the sum over a large vocabulary would move the borders.
        """
        import torch

        temperatures = [row.group.sampling.temperature for row in rows]
        divisor_R1 = torch.tensor([[t or 1.0] for t in temperatures], device=self._device)
        logits_RV = (logits_RV / divisor_R1).index_fill(1, self._banned, float("-inf"))
        logp_RV = logits_RV.log_softmax(dim=-1)
        token_R = logits_RV.argmax(dim=-1)
        drawn = [i for i, temperature in enumerate(temperatures) if temperature > 0]
        if drawn:
            uniform_N = torch.tensor(
                [rows[i].draws[len(rows[i].ids)] for i in drawn], dtype=torch.float64
            ).to(self._device)
            total_NV = logp_RV[drawn].double().exp().cumsum(dim=-1)
            border_N1 = (uniform_N * total_NV[:, -1])[:, None]
            token_R[drawn] = torch.searchsorted(total_NV, border_N1, right=True)[:, 0]
        logp_R = logp_RV.gather(1, token_R[:, None])[:, 0]
        for row, token, logp in zip(rows, token_R.tolist(), logp_R.tolist(), strict=True):
            row.take(token, logp, self._version, self._stop_ids)

    def _remove_finished(self) -> list[GenerateResult]:
        kept = [i for i, row in enumerate(self._rows) if not row.is_finished]
        if len(kept) == len(self._rows):
            return []
        finished = [row for row in self._rows if row.is_finished]
        order = self._cache.compact(kept)
        self._rows = [self._rows[i] for i in order]
        done = []
        for row in finished:
            row.group.completions[row.index] = row.completion(self._spec.tokenizer)
            if len(row.group.completions) == len(row.group.request.seeds):
                done.append(row.group.result())
        return done


# -- what is under way


@dataclass
class _Prompt:
    """A computed prompt: its keys and values, and the logits [1, V] behind its last token."""

    cache: _PromptCache
    logits_1V: Tensor


@dataclass(eq=False)
class _Group:
    """One request. `num_tokens` is the longest that an answer may become. `next_position` is the
    position of an answer's first token."""

    request: GenerateRequest
    sampling: Sampling
    ids: tuple[int, ...]
    pixels: Sequence[Mapping[str, Tensor]]
    num_tokens: int
    prompt: _Prompt | None = None
    next_position: int = 0
    num_started: int = 0
    completions: dict[int, Completion] = field(default_factory=dict)

    @property
    def num_waiting(self) -> int:
        return len(self.request.seeds) - self.num_started

    @property
    def longest(self) -> int:
        """Tokens of the prompt and the longest answer."""
        return len(self.ids) + self.num_tokens

    def start(self, count: int) -> list[_Row]:
        """Rows for the next completions."""
        numbers = range(self.num_started, self.num_started + count)
        self.num_started += count
        return [_Row(self, index, self._draws(self.request.seeds[index])) for index in numbers]

    def _draws(self, seed: int) -> Sequence[float]:
        """One uniform number for each token that the answer may have, from a generator of its own.
        Always drawn on the CPU: a seed gives the same numbers on every device."""
        import torch

        if self.sampling.temperature == 0:
            return ()
        generator = torch.Generator().manual_seed(seed)
        drawn: list[float] = torch.rand(
            self.num_tokens, dtype=torch.float64, generator=generator
        ).tolist()
        return drawn

    def result(self) -> GenerateResult:
        completions = tuple(self.completions[i] for i in range(len(self.completions)))
        return GenerateResult(self.request.ticket, self.request.uid, self.ids, completions)


@dataclass(eq=False)
class _Row:
    """One completion under way: number `index` of its group."""

    group: _Group
    index: int
    draws: Sequence[float]
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    has_stopped: bool = False

    @property
    def is_finished(self) -> bool:
        return self.has_stopped or len(self.ids) == self.group.num_tokens

    @property
    def num_cached(self) -> int:
        """Tokens with keys and values in the cache: all but the newest."""
        return len(self.group.ids) + len(self.ids) - 1

    @property
    def position(self) -> int:
        """The position of the newest token."""
        return self.group.next_position + len(self.ids) - 1

    def take(self, token: int, logp: float, version: int, stop_ids: frozenset[int]) -> None:
        self.ids.append(token)
        self.logps.append(logp)
        self.versions.append(version)
        self.has_stopped = token in stop_ids

    def completion(self, tokenizer: Any) -> Completion:
        shown = self.ids[:-1] if self.has_stopped else self.ids
        return Completion(
            token_ids=tuple(self.ids),
            behavior_logps=tuple(self.logps) if self.group.sampling.logps else (),
            text=text_of(tokenizer, self.group.ids, shown),
            finish_reason="stop" if self.has_stopped else "length",
            weight_versions=tuple(self.versions),
        )


def text_of(tokenizer: Any, prompt_ids: Sequence[int], ids: Sequence[int]) -> str:
    """The answer's text, piece by piece behind its prompt: the same bytes as vLLM's.

    `decode` would give other text: a tokenizer of words drops the space before the first one, and
    bytes of an unfinished character at the end become a replacement character.
    """
    from tokenizers.decoders import DecodeStream

    if not tokenizer.is_fast:
        return str(tokenizer.decode(ids, skip_special_tokens=True))
    backend = tokenizer.backend_tokenizer
    stream = DecodeStream(ids=list(prompt_ids), skip_special_tokens=True)
    pieces = []
    for token in ids:
        try:
            piece = stream.step(backend, token)
        except Exception as error:
            if not str(error).startswith("Invalid prefix encountered"):
                raise
            # Bytes that are no UTF-8 confuse the stream. vLLM starts another at this token too.
            stream = DecodeStream(skip_special_tokens=True)
            piece = stream.step(backend, token)
        pieces.append(piece or "")
    return "".join(pieces)


def _stop_ids(tokenizer: Any, model: Any) -> frozenset[int]:
    """The tokens at which vLLM ends an answer: the tokenizer's end token, and those of
    generation_config.json (without that file: of config.json)."""
    named = model.generation_config.eos_token_id
    ids = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    return frozenset(int(token) for token in ids if token is not None)


def _weights_in_place(model: Any) -> dict[str, Tensor]:
    """The model's own tensors under the names of the checkpoint file, tied ones once: what is
    copied into them is what the model computes with.

    Raises: RolloutError if transformers made a weight from several of the file's by copying, for
    then nothing in the model can take the file's tensor.
    """
    from rl.models.load import under_file_names, without_tied

    state = dict(model.state_dict())
    owned = {tensor.untyped_storage().data_ptr() for tensor in state.values()}
    weights = under_file_names(model, without_tied(model, state))
    for name, weight in weights.items():
        if weight.untyped_storage().data_ptr() not in owned:
            raise RolloutError(
                f"{name} is no part of a weight in the model",
                where=str(Path(model.config.name_or_path)),
                expected="weights that can be loaded into the running model",
                do="choose another engine under rollout.engine",
            )
    return weights


# -- keys and values: the two methods of transformers' Cache that the models call


class _PromptCache:
    """Keeps the keys and values [1, H, L, E] of one prompt, by layer."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def bytes_per_token(self) -> int:
        return sum(t.nbytes // t.shape[2] for pair in self.layers.values() for t in pair)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        self.layers[layer_idx] = (keys, values)
        return keys, values


class _RowCache:
    """Keys and values [R, H, K, E] of the rows under way, by layer. Row r holds its tokens from 0
    on, and behind them zeros or numbers of an earlier row, which the mask hides.

        cache.add(prompt, 2, 3, longest=96, room=8)     # rows 3 and 4, of the same prompt
        cache.begin_token(length_R, longest=52)         # then the model calls `update`
        order = cache.compact([0, 2, 4])                # these rows stay
    """

    def __init__(self) -> None:
        self._layers: dict[int, list[Tensor]] = {}
        self._at: tuple[Tensor, Tensor] | None = None
        self.width = 0

    def add(
        self, prompt: _PromptCache, count: int, num_rows: int, *, longest: int, room: int
    ) -> None:
        """Copies a prompt into `count` rows behind the first `num_rows`. The cache grows for rows
        of `longest` tokens, to twice its rows and at most to `room`."""
        for layer, pair in prompt.layers.items():
            kept = self._layers.get(layer, [])
            grown = []
            for i, new in enumerate(pair):
                old = kept[i] if kept else new[:0, :, :0]
                if old.shape[0] < num_rows + count or old.shape[2] < longest:
                    # Zeros and not empty memory: 0 times a NaN that lies there is a NaN.
                    rows = min(max(num_rows + count, 2 * old.shape[0]), room)
                    larger = new.new_zeros((rows, new.shape[1], _rounded(longest), new.shape[3]))
                    tokens = min(old.shape[2], larger.shape[2])
                    larger[:num_rows, :, :tokens] = old[:num_rows, :, :tokens]
                    old = larger
                old[num_rows : num_rows + count, :, : new.shape[2]] = new
                grown.append(old)
            self._layers[layer] = grown

    def begin_token(self, length_R: Tensor, longest: int) -> None:
        """The next `update` of every layer puts one token behind the `length_R` of each row."""
        import torch

        self._at = (torch.arange(len(length_R), device=length_R.device), length_R)
        self.width = longest

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.width - 1

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        assert self._at is not None
        rows, length_R = self._at
        seen = []
        for kept, new in zip(self._layers[layer_idx], (keys, values), strict=True):
            kept[rows, :, length_R] = new[:, :, 0]
            seen.append(kept[: len(rows), :, : self.width])
        return seen[0], seen[1]

    def compact(self, kept: Sequence[int]) -> list[int]:
        """Moves rows into the places of those that ended. Returns the row that is now in each."""
        order = list(range(len(kept)))
        holes = [place for place in order if place not in set(kept)]
        movers = [row for row in kept if row >= len(kept)]
        for place, row in zip(holes, movers, strict=True):
            order[place] = row
        if movers:
            for pair in self._layers.values():
                for tensor in pair:
                    tensor[holes] = tensor[movers]
        return order


def _rounded(tokens: int) -> int:
    return -(-tokens // _BLOCK) * _BLOCK
