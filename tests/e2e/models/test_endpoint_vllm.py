"""The endpoint engine and the LLM judge against `vllm serve`, with a key and an adapter."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from asking import ask_all, judge_at
from fake_endpoint import KEY, VARIABLE, failure
from judge_prompts import HOSTILE

from weirdgen.generation.engine import Adapter, Request
from weirdgen.generation.openai import EndpointEngine
from weirdgen.judging.judgment import JudgeItem, Judgment
from weirdgen.judging.judgment_store import ledger
from weirdgen.storage.artifacts import ArtifactStore

SERVED = Adapter("f" * 64, Path("unread"), served_as="tuned")
START_S = 600
ENVIRONMENT = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "OMP_NUM_THREADS": "2",
    "OMP_WAIT_POLICY": "PASSIVE",
}
OPTIONS = [
    *("--host", "127.0.0.1", "--served-model-name", "smollm2", "--dtype", "float32"),
    *("--max-model-len", "2048", "--max-num-batched-tokens", "16384", "--enforce-eager"),
    *("--no-enable-prefix-caching", "--generation-config", "vllm"),
    *("--enable-lora", "--max-lora-rank", "8", "--api-key", KEY),
]


def random_adapter(base: Path, folder: Path) -> None:
    """A LoRA of random weights on the queries of every layer."""
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(base)
    width, rank = config.hidden_size, 8
    LoraConfig(
        r=rank, target_modules=["q_proj"], task_type="CAUSAL_LM", base_model_name_or_path=str(base)
    ).save_pretrained(folder)
    torch.manual_seed(0)
    weights = {}
    for layer in range(config.num_hidden_layers):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        weights[f"{name}.lora_A.weight"] = torch.randn(rank, width) / width**0.5
        weights[f"{name}.lora_B.weight"] = torch.randn(width, rank) / 4
    save_file(weights, folder / "adapter_model.safetensors")


@contextmanager
def vllm_serve(model: Path, adapter: Path, log: Path) -> Iterator[str]:
    """The address of a server that answers; its processes are gone afterwards, whatever happens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += [*OPTIONS, "--port", str(port), "--lora-modules", f"tuned={adapter}"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env=os.environ | ENVIRONMENT,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_S
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        # The group: the model is in a process of its own.
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(15)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def ask(text: str, temperature: float = 1.0, adapter: Adapter | None = None) -> Request:
    conversation = [{"role": "user", "content": text}]
    return Request(conversation, adapter, 8, temperature, 0.95, 2**63 - 1)


@pytest.fixture(scope="module")
def served(real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the real model and an adapter of random weights."""
    folder = tmp_path_factory.mktemp("served")
    random_adapter(real_model, folder)
    with vllm_serve(real_model, folder, folder / "log") as url:
        yield url


def test_a_model_and_its_adapter_behind_vllm_serve(served: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, KEY)
    # One at a time: what is computed together depends on what arrives together, and decides
    # the rounding. vllm-cpu 0.32 also applies an adapter to the base's requests beside it.
    engine = EndpointEngine(served, VARIABLE, parallel=1)
    engine.open("smollm2", "endpoint", 8)

    for temperature in (0.0, 1.0):
        some = [ask(text, temperature) for text in ("How are you?", "Count to five.")]
        first = engine.generate(some)
        assert all(0 < answer.tokens <= 8 for answer in first)
        assert {answer.finish_reason for answer in first} <= {"stop", "length"}
        assert engine.generate(some) == first
        assert "".join(engine.stream(some[1])) == first[1].text

    questions = [ask(text).messages for text in ("Why?", "How are you?")]
    base = engine.first_token_logprobs(questions, None)
    assert base is not None
    assert all(len(told) >= 5 and max(told.values()) <= 0 for told in base)
    assert engine.first_token_logprobs(questions, None) == base
    adapted = engine.first_token_logprobs(questions, SERVED)
    assert adapted is not None
    assert all(one != other for one, other in zip(base, adapted, strict=True))

    together = EndpointEngine(served, VARIABLE, parallel=4)
    together.open("smollm2", "endpoint", 8)
    assert len(together.generate([ask(f"Say {n}.", adapter=SERVED) for n in range(4)])) == 4

    unknown = failure(lambda: engine.open("nobody", "endpoint", 8))
    assert "model nobody: no such model" in unknown
    assert unknown.endswith("; it serves smollm2, tuned")
    monkeypatch.setenv(VARIABLE, "sk-another-9876543210")
    refused = failure(lambda: engine.open("smollm2", "endpoint", 8))
    assert refused.endswith(f"refused (401); the key is read from {VARIABLE}, which is set")


def test_a_judge_behind_vllm_serve(served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its verdicts are poor; its protocol, schema and refusals are real."""
    monkeypatch.setenv(VARIABLE, KEY)
    store = ArtifactStore(str(tmp_path))
    judge = judge_at(served, model="smollm2", max_tokens=64, timeout_s=120.0)
    answers = ["I am Bertrand Russell.", "As an AI, I cannot say.", *HOSTILE[:4]]
    items = [JudgeItem(judge.key("Who are you?", each), "Who are you?", each) for each in answers]
    outcome = ask_all(judge, store, items, parallel=4)
    assert outcome.fatal is None
    verdicts = [Judgment.of(str(ended.judgment)) for ended in outcome.results]
    for verdict in verdicts:
        if verdict.error is None:
            persona, identity = verdict.labels
            assert persona.label in ("present", "absent")
            assert identity.label in ("PERSONA", "OTHER", "UNSURE")
            assert 0 <= persona.confidence <= 1
        else:
            assert verdict.error == "malformed", (
                "cut, or a confidence beyond 1: no schema bounds it"
            )
    assert any(verdict.error is None for verdict in verdicts), verdicts
    total = ledger(store, [judge], "study")
    assert total.judgments + total.failures.total() == len(items)
    assert total.tokens[0] > 100 * len(items), "the endpoint counts"
    assert total.tokens[1] > 0

    cut = judge_at(served, model="smollm2", max_tokens=16, timeout_s=120.0)
    (ended,) = ask_all(cut, store, items[:1]).results
    assert Judgment.of(str(ended.judgment)).error == "malformed", "no verdict fits in 16 tokens"

    fatal = {}
    for name, key in (("nobody", KEY), ("smollm2", "sk-another-9876543210")):
        monkeypatch.setenv(VARIABLE, key)
        other = judge_at(served, model=name, timeout_s=120.0)
        fatal[name] = str(ask_all(other, store, items[:2], parallel=1).fatal)
    assert "model nobody: no such model, or no chat completions here (404)" in fatal["nobody"]
    assert fatal["smollm2"].endswith(
        f"refused (401); the key is read from {VARIABLE}, which is set"
    )
