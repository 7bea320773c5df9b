"""What vLLM's GPU senders would be given and would send, as far as a CPU goes: the file transport
is the measure. The transfer itself is `unverified`.
"""

import os
import pickle
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from rl.learners.weights import Weights
from rl.models.load import empty_model, file_weights, load_model
from rl.runtime.actors import LocalHandle
from tests.rl.models.trees import FAMILIES, checkpoint


@pytest.fixture(scope="module")
def transfer() -> Any:
    """The module, imported late (vLLM takes seconds) and without what that does to the
    environment.
    """
    before = dict(os.environ)
    import rollouts.engines.vllm.transfer

    os.environ.clear()
    os.environ.update(before)
    return rollouts.engines.vllm.transfer


class Worker:
    """What a channel asks of a rollout worker."""

    def __init__(self, log: list[Any], name: str) -> None:
        self.log, self.name = log, name

    def open_transfer(self, init_info: dict[str, Any]) -> None:
        self.log.append((self.name, "open", init_info))

    def start_update(self) -> None:
        self.log.append((self.name, "start", None))

    def receive(self, update_info: dict[str, Any]) -> None:
        self.log.append((self.name, "receive", update_info["names"]))

    def finish_update(self) -> None:
        self.log.append((self.name, "finish", None))


def weights_of(model: Any) -> Weights:
    return Weights(model, lambda parameters: nullcontext())


def workers(log: list[Any], count: int) -> tuple[LocalHandle, ...]:
    return tuple(LocalHandle(f"rollout-{i}", Worker(log, f"rollout-{i}")) for i in range(count))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("buffer", [2**21, 2**30])
def test_chunks_carry_what_the_file_holds(
    transfer: Any, request: pytest.FixtureRequest, family: str, buffer: int
) -> None:
    """vLLM's own packing over our source, and its own check of metadata against what comes."""
    from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerWeightTransferEngine
    from vllm.distributed.weight_transfer.packed_tensor import pack_tensors, unpack_tensor

    model = load_model(checkpoint(request, family))
    wanted = file_weights(model)
    source = transfer.LearnerWeights(weights_of(model))
    pairs = NCCLTrainerWeightTransferEngine._checked_iter(source, source.metadata())
    found: dict[str, torch.Tensor] = {}
    chunks = 0
    while chunk := pack_tensors(pairs, lambda item: item[1], buffer):
        chunks += 1
        parts = (chunk.names, chunk.shapes, chunk.dtypes, chunk.tensor_sizes)
        found |= dict(unpack_tensor(chunk.packed_tensor, *parts))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert (chunks > 1) == (sum(w.nbytes for w in wanted.values()) > buffer)


def test_every_engine_rank_has_a_number_of_its_own(transfer: Any, tiny_qwen3: Path) -> None:
    """vLLM's sender counts one engine's ranks: two engines of two would both be 1 and 2."""
    log: list[Any] = []
    channel = transfer.GpuChannel("nccl", workers(log, 3), 2, 5.0, ("10.0.0.1", 29700))
    info = channel.init_info(weights_of(load_model(tiny_qwen3)), rank=4)
    assert (info.world_size, info.master_address, info.master_port) == (7, "10.0.0.1", 29700)
    assert (info.rank, info.is_sender, info.backend, info.packed) == (4, False, "nccl", True)
    client = transfer.WorkersClient(channel.workers, 2, 5.0)
    client.init_weight_transfer_engine({"rank_offset": 1, "world_size": 7})
    assert [init["rank_offset"] for _, _, init in log] == [1, 3, 5]
    assert {init["world_size"] for _, _, init in log} == {7}


def test_the_client_leads_every_worker_through_an_update(transfer: Any) -> None:
    log: list[Any] = []
    client = transfer.WorkersClient(workers(log, 2), 1, 5.0)
    client.start_weight_update()
    client.update_weights({"names": ["a"]})
    client.update_weights({"names": ["b"]})
    client.finish_weight_update()
    for name in ("rollout-0", "rollout-1"):
        steps = [(what, value) for who, what, value in log if who == name]
        assert steps == [("start", None), ("receive", ["a"]), ("receive", ["b"]), ("finish", None)]


def test_a_buffer_holds_the_largest_weight(transfer: Any) -> None:
    """vLLM's ipc sender refuses a weight that is larger than its buffer."""
    root = Path(__file__).parents[1] / "models" / "Qwen3-VL-4B-Instruct"
    for dtype, size in (("bfloat16", 2**30), ("float32", 151936 * 2560 * 4)):
        weights = weights_of(empty_model(root, dtype))
        info = transfer.GpuChannel("ipc", (), 1, 5.0).init_info(weights, rank=0)
        assert (info.packed_buffer_size_bytes, info.packed, info.is_sender) == (size, True, True)


class Taker:
    """The part of an engine's model that loads weights."""

    def __init__(self) -> None:
        self.taken: dict[str, torch.Tensor] = {}

    def load_weights(self, weights: Any) -> None:
        self.taken |= dict(weights)


@pytest.mark.parametrize("transport", ["file", "ipc", "nccl"])
def test_every_transport_takes_a_file(transfer: Any, transport: str, tmp_path: Path) -> None:
    """A restarted worker has missed what was sent."""
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

    save_file({"w": torch.arange(3.0)}, tmp_path / "w.safetensors")
    model = Taker()
    engine = WeightTransferEngineFactory.create_engine(
        SimpleNamespace(backend=transfer.backend(transport)),
        SimpleNamespace(parallel_config=None, model_config=None),
        torch.device("cpu"),
        model,
    )
    engine.update_weights({"path": str(tmp_path / "w.safetensors")})
    assert model.taken["w"].tolist() == [0.0, 1.0, 2.0]


def test_the_channel_crosses_to_another_process(transfer: Any) -> None:
    channel = transfer.GpuChannel("nccl", (Named("rollout-0"),), 1, 5.0, ("h", 1))
    assert pickle.loads(pickle.dumps(channel)).workers[0].name == "rollout-0"


class Named:
    """A handle as it is pickled: its name and where its actor is."""

    def __init__(self, name: str) -> None:
        self.name = name


def test_what_did_not_come_is_named(transfer: Any) -> None:
    """An engine that is sent less than its checkpoint holds would sample from a mixture."""
    from rl.errors import RolloutError
    from rollouts.engines.vllm.engine import VllmEngine

    calls: list[str] = []
    engine = VllmEngine.__new__(VllmEngine)
    engine._names, engine._received = frozenset({"a", "b", "lm_head.weight"}), {"stale"}
    engine._core = SimpleNamespace(rpc=lambda method, **_: calls.append(method))
    engine.start_update()
    engine.receive({"names": ["a"]})
    with pytest.raises(RolloutError, match="1 weights are missing, b first"):
        engine.finish_update()
    assert calls == ["start_weight_update", "update_weights"]
    engine.receive({"names": ["b"]})
    engine.finish_update()
    assert calls[-2:] == ["finish_weight_update", "repack_tied_head"]
