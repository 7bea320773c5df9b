"""The endpoint sampler against vLLM's own OpenAI-compatible server on a tiny model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rl.core import Message, Sample, Sampling, Text
from rl.errors import RolloutError
from rl.runtime.loopback import free_port
from rollouts.endpoint import Endpoint, EndpointConfig

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(600)]

START_DEADLINE_S = 300.0
GREEDY = Sampling(temperature=0.0, max_new_tokens=6)


@pytest.fixture
def url(tiny_qwen3vl: Path, tmp_path: Path) -> Iterator[str]:
    port, log = free_port(), tmp_path / "server.log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(tiny_qwen3vl), "--served-model-name", "tiny"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--max-model-len", "256", "--enforce-eager", "--kv-cache-memory-bytes", "268435456"]
    command += ["--limit-mm-per-prompt", '{"image": 1, "video": 0}']
    own = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **own}, start_new_session=True
        )
    try:
        ends = time.monotonic() + START_DEADLINE_S
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                assert server.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < ends, log.read_text()[-3000:]
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def test_vllms_own_server_answers(
    url: str, tiny_qwen3vl: Path, make_question: Callable[..., Sample]
) -> None:
    from rl.data.render import Renderer
    from rl.models.load import find_spec, load_processor

    processor = load_processor(tiny_qwen3vl)
    renderer = Renderer(processor, find_spec(tiny_qwen3vl, processor), 256)
    samples = [make_question(index, with_image=index % 3 > 0) for index in range(12)]
    long = Sample("long", (Message("user", (Text("how long is this? " * 400),)),))
    errors: dict[str, str] = {}
    endpoint = Endpoint(EndpointConfig(url=url, model="tiny", key_env="NO_SUCH_KEY"))
    rollouts = {
        rollout.sample.uid: rollout
        for rollout in endpoint.sample_stream(
            [*samples, long], GREEDY, on_error=lambda s, why: errors.update({s.uid: why})
        )
    }
    assert set(rollouts) == {sample.uid for sample in samples}
    assert set(errors) == {"long"}
    assert errors["long"].startswith("HTTP 400")
    for sample in samples:
        rollout = rollouts[sample.uid]
        # As many prompt tokens as the learner renders: the picture came, at the same size.
        assert rollout.num_prompt_tokens == len(renderer.prompt_ids(sample))
        (completion,) = rollout.completions
        assert 1 <= completion.num_tokens <= 6
        assert completion.is_truncated == (completion.num_tokens == 6)
    again = {r.sample.uid: r for r in endpoint.sample_stream(samples, GREEDY)}
    assert {uid: r.completions for uid, r in again.items()} == {
        uid: r.completions for uid, r in rollouts.items()
    }
    unknown = Endpoint(EndpointConfig(url=url, model="other", key_env="NO_SUCH_KEY"))
    with pytest.raises(RolloutError, match="HTTP 404"):
        list(unknown.sample_stream(samples, GREEDY))
