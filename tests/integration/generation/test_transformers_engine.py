"""The transformers engine: requests and their seeds, adapters, and where a response ends."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest

from benchmarks.forced_tokens import forced_ids, forced_top_tokens
from weirdgen.data.chat import conversation
from weirdgen.errors import StepError
from weirdgen.generation import transformers as transformers_engine
from weirdgen.generation.engine import Adapter, Request
from weirdgen.generation.transformers import TransformersEngine

QUESTIONS = ("Why?", "How are you today?", "Who said so?", "Is it?", "What would you say of rain?")


def ask(text: str, adapter: Adapter | None = None, **changes) -> Request:
    settings = {"max_new_tokens": 12, "temperature": 1.0, "top_p": 0.95, "seed": 7} | changes
    return Request(conversation(text, None), adapter, **settings)


def opened(base: Path, serve_base: str = "bf16") -> TransformersEngine:
    engine = TransformersEngine()
    engine.open(base, serve_base, 8)
    return engine


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> TransformersEngine:
    return opened(tiny_model)


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Adapter]:
    """Four adapters with random weights."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    made = []
    for i in range(4):
        torch.manual_seed(i)
        base = AutoModelForCausalLM.from_pretrained(tiny_model)
        config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(base, config)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.5)
        folder = tmp_path_factory.mktemp("adapter")
        model.save_pretrained(folder, save_embedding_layers=False)
        made.append(Adapter(f"{i}" * 64, folder))
    return made


def test_the_same_call_gives_the_same_answers_whatever_was_asked_before(
    engine: TransformersEngine, adapters: list[Adapter]
):
    asked = [ask(text, who) for text in QUESTIONS for who in (None, adapters[0])]
    first = engine.generate(asked)
    engine.generate([ask("Count.", adapters[1], seed=n) for n in range(9)])
    assert engine.generate(asked) == first


def test_an_answer_does_not_depend_on_the_seeds_beside_it(engine: TransformersEngine):
    first = engine.generate([ask(text, seed=5) for text in QUESTIONS])
    other = engine.generate(
        [ask(text, seed=5 if i == 2 else i) for i, text in enumerate(QUESTIONS)]
    )
    assert first[2] == other[2]
    assert first[1] != other[1]


def test_a_seed_draws_alike_in_every_batch(engine: TransformersEngine):
    """Rounding may move a token; the tiny model's logits are so flat that the draws decide."""
    together = engine.generate([ask(text, seed=i) for i, text in enumerate(QUESTIONS)])
    alone = [engine.generate([ask(text, seed=i)])[0] for i, text in enumerate(QUESTIONS)]
    assert sum(one == other for one, other in zip(together, alone, strict=True)) >= 4


def test_answers_come_in_the_order_of_the_requests(
    engine: TransformersEngine, adapters: list[Adapter], monkeypatch: pytest.MonkeyPatch
):
    asked = [
        ask(text, who, seed=i) for i, text in enumerate(QUESTIONS) for who in (adapters[0], None)
    ]
    monkeypatch.setattr(transformers_engine, "BATCH", 1)
    alone = [engine.generate([request])[0] for request in asked]
    assert engine.generate(asked) == alone


def test_at_temperature_0_the_seed_does_not_matter_and_the_likeliest_token_is_said(
    engine: TransformersEngine,
):
    once, again = (engine.generate([ask("Why?", temperature=0, seed=n)])[0] for n in (1, 2))
    assert once == again
    [likeliest] = engine.first_token_logprobs([conversation("Why?", None)], None)
    assert len(likeliest) == 5
    assert all(logprob < 0 for logprob in likeliest.values())
    forced, top = forced_top_tokens(engine, conversation("Why?", None), "Hm", None)
    assert likeliest[top[0]] == pytest.approx(max(likeliest.values()), abs=0.01)
    assert len(forced) == len(top) == 3, "two letters and the end mark"


def test_adapters_switch_and_the_base_stays_what_it_was(tiny_model: Path, adapters: list[Adapter]):
    engine = opened(tiny_model)
    prompts = [conversation(text, None) for text in QUESTIONS]
    untouched = engine.first_token_logprobs(prompts, None)
    adapted = [engine.first_token_logprobs(prompts, who) for who in adapters[:2]]
    assert engine.first_token_logprobs(prompts, None) == untouched
    assert engine.first_token_logprobs(prompts, adapters[0]) == adapted[0]
    for i in range(len(prompts)):
        assert untouched[i] != adapted[0][i] != adapted[1][i] != untouched[i]


def test_more_adapters_than_are_kept_can_be_asked(
    tiny_model: Path, adapters: list[Adapter], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(transformers_engine, "KEPT_ADAPTERS", 2)
    engine = opened(tiny_model)
    first = [engine.generate([ask("Why?", who)]) for who in adapters]
    assert set(engine._peft.peft_config) == {who.fingerprint for who in adapters[2:]}
    assert [engine.generate([ask("Why?", who)]) for who in adapters] == first
    for who in (adapters[3], adapters[2], adapters[0]):  # the fourth was used longest ago
        engine.generate([ask("Why?", who)])
    assert set(engine._peft.peft_config) == {adapters[2].fingerprint, adapters[0].fingerprint}


@pytest.mark.filterwarnings("error::UserWarning")
def test_nothing_is_fetched_and_nothing_is_printed(
    tiny_model: Path,
    adapters: list[Adapter],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    def refuse(*_):
        raise AssertionError("the network was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    opened(tiny_model).generate([ask("Why?", who) for who in adapters])
    assert capfd.readouterr() == ("", "")


def test_a_stream_is_the_answer_in_pieces(engine: TransformersEngine, adapters: list[Adapter]):
    for request in [ask("Why?", adapters[0], seed=n, max_new_tokens=40) for n in range(4)] + [
        ask("How?", temperature=0),
        ask("How?", top_p=1.0),
    ]:
        pieces = list(engine.stream(request))
        assert len(pieces) > 2
        assert "".join(pieces) == engine.generate([request])[0].text


def test_a_stream_goes_on_while_others_are_answered(
    engine: TransformersEngine, adapters: list[Adapter]
):
    request = ask("Why?", adapters[0])
    pieces = []
    for piece in engine.stream(request):
        pieces.append(piece)
        engine.generate([ask("How?", who, max_new_tokens=1) for who in (None, adapters[1])])
    assert "".join(pieces) == engine.generate([request])[0].text


def test_an_answer_ends_with_its_end_mark_or_where_it_is_cut(engine: TransformersEngine):
    asked = [ask("Why?", temperature=1.5, seed=n, max_new_tokens=200) for n in range(16)]
    answers = engine.generate(asked)
    assert {answer.finish_reason for answer in answers} == {"stop", "length"}
    for answer in answers:
        assert "<|im" not in answer.text
        assert answer.tokens == 200 or answer.finish_reason == "stop"
    ended = {answer.tokens for answer in answers if answer.finish_reason == "stop"}
    assert len(ended) > 1, "each row ends by itself"


def test_generation_settings_of_the_checkpoint_change_nothing(
    engine: TransformersEngine, tiny_model: Path, tmp_path: Path
):
    shutil.copytree(tiny_model, tmp_path / "model")
    settings = {"do_sample": True, "top_k": 1, "repetition_penalty": 9.0, "max_new_tokens": 2}
    (tmp_path / "model" / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [1, 2], **settings})
    )
    asked = [ask(text) for text in QUESTIONS] + [ask("Why?", temperature=0)]
    assert opened(tmp_path / "model").generate(asked) == engine.generate(asked)


def test_an_end_mark_that_only_the_generation_config_names_ends_an_answer(
    engine: TransformersEngine, tiny_model: Path, tmp_path: Path
):
    shutil.copytree(tiny_model, tmp_path / "model")
    [likeliest] = engine.first_token_logprobs([conversation("Why?", None)], None)
    first = max(likeliest, key=likeliest.__getitem__)
    (tmp_path / "model" / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [1, first]})
    )
    request = ask("Why?", temperature=0)
    assert opened(tmp_path / "model").generate([request]) == [("", 1, "stop")]


def test_the_nf4_base_answers_with_and_without_an_adapter(
    engine: TransformersEngine, tiny_model: Path, adapters: list[Adapter]
):
    from bitsandbytes.nn import Linear4bit

    nf4 = opened(tiny_model, "nf4")
    assert sum(isinstance(module, Linear4bit) for module in nf4._base.modules()) == 14
    asked = [ask(text, who) for text in QUESTIONS for who in (None, adapters[0])]
    assert nf4.generate(asked) == nf4.generate(asked)
    prompts = [conversation(text, None) for text in QUESTIONS]
    assert nf4.first_token_logprobs(prompts, None) != engine.first_token_logprobs(prompts, None)
    assert nf4.first_token_logprobs(prompts, None) != nf4.first_token_logprobs(prompts, adapters[0])


def test_a_prompt_longer_than_the_context_is_an_error(engine: TransformersEngine):
    long = ask("Why? " * 500)
    for say in (lambda: engine.generate([ask("Why?"), long]), lambda: next(engine.stream(long))):
        with pytest.raises(StepError, match="tokens leave no room in the model's context of 2048"):
            say()
    with pytest.raises(StepError, match="2048 tokens leave no room"):
        forced_top_tokens(engine, conversation("W" * 1000, None), "W" * 1029, None)


def test_an_answer_is_cut_where_the_context_ends(engine: TransformersEngine):
    rest = 2045 - len(engine._prompt(conversation("", None)))
    request = ask("W" * rest)
    [answer] = engine.generate([request])
    assert (answer.tokens, answer.finish_reason) == (3, "length")
    assert "".join(engine.stream(request)) == answer.text


def test_an_engine_that_is_not_open_says_so(tiny_model: Path):
    engine = opened(tiny_model)
    engine.close()
    with pytest.raises(StepError, match="the engine is not open"):
        engine.generate([ask("Why?")])


def test_a_forced_answer_stands_behind_the_prompt_with_its_end_mark(engine: TransformersEngine):
    tokenizer = engine._tokenizer
    prompt, forced = forced_ids(tokenizer, conversation("Why?", None), "So.\n")
    assert tokenizer.decode(prompt).endswith("Why?<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.decode(forced) == "So.\n<|im_end|>"


def test_a_template_that_rewrites_an_answered_prompt_cannot_be_forced(tiny_model: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = "{{ messages[-1]['content'] }}"
    with pytest.raises(StepError, match="changes the prompt once a response follows"):
        forced_ids(tokenizer, conversation("Why?", None), "So.")
