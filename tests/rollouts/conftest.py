"""Real engines, one process each, started once a session, and a plain learner to compare."""

from __future__ import annotations

import io
import itertools
import os
import random
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import pytest

from rl.core import Image, ImageSource, Message, Sample, Text
from rl.data.tree import Tree
from rl.errors import ActorLostError, DeadlineError
from rl.learners.base import SamplingDistribution
from rl.plugins import names

MAX_PIXELS = 16384
START_DEADLINE_S = 240.0


class EngineProcess:
    """A rollout worker in a child process. Implements rl.runtime.actors.Handle."""

    def __init__(self, name: str, *args: Any, **kwargs: Any) -> None:
        self.name = name
        ours, theirs = Pipe()
        self._pipe, self._answers = ours, deque[tuple[bool, Any]]()
        self._sent = self._taken = 0
        child = Path(__file__).with_name("engine_child.py")
        root = str(Path(__file__).parents[2])
        self._process = subprocess.Popen(
            [sys.executable, str(child), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            # Threads that spin while they wait take the cores from whoever works.
            env={
                **os.environ,
                "PYTHONPATH": root,
                "OMP_NUM_THREADS": "2",
                "OMP_WAIT_POLICY": "PASSIVE",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        self.call("start", *args, deadline_s=START_DEADLINE_S, **kwargs)

    def submit(self, method: str, *args: Any, **kwargs: Any) -> _Call:
        try:
            self._pipe.send((method, args, kwargs))
        except ConnectionError:
            raise ActorLostError("the actor is dead", where=f"{self.name} {method}") from None
        self._sent += 1
        return _Call(self, method, self._sent)

    def call(self, method: str, *args: Any, deadline_s: float, **kwargs: Any) -> Any:
        return self.submit(method, *args, **kwargs).result(deadline_s)

    def is_alive(self, patience_s: float = 1.0) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int:
        """What the process ended with; waits for it."""
        return self._process.wait(timeout=60)

    def stop(self) -> None:
        self._pipe.close()
        self._process.wait(timeout=30)

    def answer(self, number: int, method: str, deadline_s: float) -> Any:
        """Answers come in the order of the calls; one that nobody waits for is dropped."""
        while self._taken < number:
            if not self._pipe.poll(deadline_s):
                raise DeadlineError(f"no answer in {deadline_s} s", where=f"{self.name} {method}")
            try:
                is_fine, value = self._pipe.recv()
            except (EOFError, ConnectionError):
                raise ActorLostError("the actor died", where=f"{self.name} {method}") from None
            self._taken += 1
        if not is_fine:
            raise value
        return value

    @contextmanager
    def without(self, method: str) -> Iterator[None]:
        """The worker's method does nothing meanwhile."""
        self.call("skip", method, deadline_s=60)
        try:
            yield
        finally:
            self.call("restore", method, deadline_s=60)


@dataclass
class _Call:
    handle: EngineProcess
    method: str
    number: int

    def result(self, deadline_s: float) -> Any:
        return self.handle.answer(self.number, self.method, deadline_s)


class PlainLearner:
    """The tree forward with torch's AdamW in this process: no engine, no ranks."""

    def __init__(self, path: Path, max_pixels: int | None = None) -> None:
        import torch

        from rl.data.collate import ImageStore
        from rl.data.render import Renderer
        from rl.models.forward import TreeForward
        from rl.models.load import find_spec, load_model, load_processor

        self.processor = load_processor(path, max_pixels)
        self.spec = find_spec(path, self.processor)
        self.model = load_model(path)
        self.renderer = Renderer(self.processor, self.spec, max_length=1024)
        self._forward, self._store = TreeForward(self.model, self.spec), ImageStore(self.spec)
        self._optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)

    def logprobs(
        self, trees: Sequence[Tree], distribution: SamplingDistribution, *, reference: bool = False
    ) -> list[list[tuple[float, ...]]]:
        import torch

        with torch.no_grad():
            return [self._of_tree(tree, distribution) for tree in trees]

    def _batch(self, tree: Tree) -> Any:
        from rl.data.collate import collate
        from rl.data.pack import pack

        (plan,) = pack(
            [tree], layout=self.spec.layout, row_tokens=1024, tokens_per_microbatch=1 << 20
        )
        return collate([tree], plan, self.spec, self._store, layout=self.spec.layout)

    def _of_tree(self, tree: Tree, distribution: SamplingDistribution) -> list[tuple[float, ...]]:
        flat = iter(
            self._forward(
                self._batch(tree), distribution.temperature, distribution.banned_ids
            ).tolist()
        )
        return [tuple(itertools.islice(flat, b.num_trained)) for b in tree.branches]

    def train(self, trees: Sequence[Tree], steps: int = 1) -> None:
        """Optimizer steps at the quickstart's peak rate: every weight moves."""
        for _ in range(steps):
            for tree in trees:
                (-self._forward(self._batch(tree)).mean() / len(trees)).backward()
            self._optimizer.step()
            self._optimizer.zero_grad()

    def publish(self, path: str) -> None:
        from safetensors.torch import save_file

        from rl.models.load import file_weights

        save_file(file_weights(self.model), path)


@dataclass
class Engines:
    """An engine process, the folder it started from, and versions that only grow."""

    handle: EngineProcess
    config: Any
    model: Path
    max_pixels: int | None
    folder: Path
    version: int = field(default=0)

    def next_version(self) -> int:
        self.version += 1
        return self.version

    def reset(self) -> None:
        """The checkpoint's own weights again, and no cache."""
        (file,) = self.model.glob("*.safetensors")
        self.handle.call("reload_weights", self.next_version(), str(file), deadline_s=60)


def png(seed: int, width: int = 64, height: int = 64) -> ImageSource:
    """A picture of a few rectangles."""
    import PIL.Image
    from PIL import ImageDraw

    rng = random.Random(seed)
    color = lambda: tuple(rng.randrange(256) for _ in range(3))  # noqa: E731
    image = PIL.Image.new("RGB", (width, height), color())
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = rng.randrange(width - 16), rng.randrange(height - 16)
        draw.rectangle([x, y, x + 14, y + 14], fill=color())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return ImageSource(data=buffer.getvalue())


def question(index: int, *, with_image: bool = True, side: int = 64) -> Sample:
    """A prompt of about 85 tokens in the tiny tokenizers."""
    text = f"What color is the shape at the top left, and how many circles are there? ({index})"
    mark = (Image(0),) if with_image else ()
    images = (png(index, side, side),) if with_image else ()
    return Sample(f"q{index}", (Message("user", (*mark, Text(text))),), images)


@pytest.fixture(scope="session")
def make_question() -> Callable[..., Sample]:
    return question


@pytest.fixture
def probes(make_question: Callable[..., Sample]) -> list[Sample]:
    """Eight probes of the parity gate, images of two sizes among them."""
    from rl.runtime.parity import choose_probes

    return choose_probes([make_question(i, side=96 if i == 3 else 64) for i in range(8)])


@pytest.fixture(scope="session")
def make_learner() -> type[PlainLearner]:
    return PlainLearner


def _line(
    worker: str, model: Path, max_pixels: int | None, folder: Path, **engine: Any
) -> Iterator[Engines]:
    from rollouts.base import RolloutConfig

    own = {"name": "vllm", "kv_cache_gib": 0.25, **engine}
    config = RolloutConfig(max_model_len=512, max_images=1, engine=own)
    handle = EngineProcess(worker, config, str(model), max_pixels, 0)
    try:
        yield Engines(handle, config, model, max_pixels, folder)
    finally:
        handle.stop()


@pytest.fixture(scope="session")
def vl_line(tiny_qwen3vl: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    yield from _line("rollout-0", tiny_qwen3vl, MAX_PIXELS, tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session", params=names("rollouts.engines"))
def engine_line(
    request: pytest.FixtureRequest, tiny_qwen3vl: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engines]:
    """Each engine of the registry in turn, with its default settings."""
    if request.param == "vllm":
        yield request.getfixturevalue("vl_line")
    else:
        folder = tmp_path_factory.mktemp(request.param)
        yield from _line(request.param, tiny_qwen3vl, MAX_PIXELS, folder, name=request.param)


@pytest.fixture
def start_again() -> Iterator[Callable[[Engines], Engines]]:
    """Starts a second worker as this one was started."""
    started: list[EngineProcess] = []

    def start(line: Engines) -> Engines:
        handle = EngineProcess("again", line.config, str(line.model), line.max_pixels, 1)
        started.append(handle)
        return replace(line, handle=handle, version=0)

    yield start
    for handle in started:
        handle.stop()


@pytest.fixture(scope="session")
def second_handle(
    tiny_qwen3vl: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineProcess]:
    """Another worker, its engine core in a process of its own; the last test that uses it kills
    the core.
    """
    folder = tmp_path_factory.mktemp("second")
    for line in _line("rollout-1", tiny_qwen3vl, MAX_PIXELS, folder, core="own_process"):
        yield line.handle


@pytest.fixture(params=["ipc", "nccl"])
def gpu_line(request: pytest.FixtureRequest, tiny_qwen3: Path, tmp_path: Path) -> Iterator[Engines]:
    """An engine that waits for weights from a GPU; there is none."""
    yield from _line("rollout-2", tiny_qwen3, None, tmp_path, transport=request.param)


@pytest.fixture(scope="module", params=["tiny_llava", "tiny_qwen3"])
def other_line(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engines]:
    folder = tmp_path_factory.mktemp(request.param)
    yield from _line(request.param, request.getfixturevalue(request.param), None, folder)
