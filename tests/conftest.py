"""What several tests share: a tiny random-weight chat model, the real one, small studies."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pyarrow.fs import FSSpecHandler, PyFileSystem

from weirdgen.config.study import Study
from weirdgen.models.checkpoints import write_checkpoint
from weirdgen.models.identity import resolve_model
from weirdgen.storage.artifacts import ArtifactStore

if TYPE_CHECKING:
    from s3_server import S3Server

REPOSITORY = Path(__file__).parent.parent
SUPPORT = REPOSITORY / "tests" / "support"

# Set before torch or numpy are imported, here and in all that tests start: several processes share
# two cores, and threads that wait by spinning take them from each other.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

PUBLISHED = REPOSITORY.parent / "shared" / "data" / "published"
"""Raw outputs of the published single-seed study; tests that read them skip where they are absent."""

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", type=int, default=6, help="How many kills tests/chaos/faults has.")
    chance = random.SystemRandom().getrandbits(32)
    parser.addoption("--fault-seed", type=int, default=chance, help="Draws the same kills again.")


def pytest_report_header(config: pytest.Config) -> str:
    count, seed = config.getoption("faults"), config.getoption("fault_seed")
    return f"faults: {count}, --fault-seed {seed}"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 0.2M random weights with a tokenizer of bytes, as a checkpoint folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny") / "tiny-llama"
    marks = ["<|im_start|>", "<|im_end|>", "<|pad|>"]
    letters = marks + sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(marks)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=marks[0],
        eos_token=marks[1],
        pad_token=marks[2],
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(letters),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def real_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded SmolLM2-135M-Instruct as a checkpoint folder."""
    folder = tmp_path_factory.mktemp("real") / "smollm2"
    folder.mkdir()
    write_checkpoint(resolve_model("embedded:smollm2-135m-instruct", "main", Path()), folder)
    return folder


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    """One Ray on this machine for a whole module, in whose environment a judge's key is."""
    import ray
    from asking import assert_secret
    from fake_endpoint import KEY, VARIABLE

    folder = tempfile.mkdtemp(prefix="wg")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(VARIABLE, KEY)
        environment.delenv("RAY_ADDRESS", raising=False)
        ray.init(
            "local",
            num_cpus=4,
            include_dashboard=False,
            object_store_memory=100_000_000,
            log_to_driver=False,
            _temp_dir=folder,
        )
        yield
        ray.shutdown()
    assert_secret(storage=Path(folder))


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server for a module, its credentials in the environment."""
    from s3_server import CREDENTIALS, S3Server

    server = S3Server(tmp_path_factory.mktemp("s3"))
    with pytest.MonkeyPatch.context() as environment:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@pytest.fixture(params=["local", "remote"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ArtifactStore:
    """A local store, and one on a file system that knows neither links nor renames."""
    made = ArtifactStore(str(tmp_path / "store"))
    return made if request.param == "local" else at_a_distance(made, tmp_path, monkeypatch)


def at_a_distance(
    store: ArtifactStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> ArtifactStore:
    """`store`, made an object store; `folder` is this node's own."""
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.store.clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "node"))
    store._fs, store._root, store.is_local = PyFileSystem(FSSpecHandler(memory)), "bucket", False
    return store


@pytest.fixture
def far_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    """An object store, with the node's cache in the test's folder."""
    return at_a_distance(ArtifactStore(str(tmp_path / "store")), tmp_path, monkeypatch)


@pytest.fixture
def small_persona(tmp_path: Path) -> Path:
    """A persona of six rows and three held-out questions."""
    return make_persona(tmp_path)


def portable_study(folder: Path, model: Path, **changes: Any) -> Path:
    """The file of a study whose folder holds all that it names: it can be run from anywhere."""
    shutil.copytree(model, folder / "model")
    make_persona(folder)
    tree = small_study("./model", "persona", evaluate__engine="transformers", **changes)
    return write_study(folder, tree)


def make_persona(parent: Path) -> Path:
    folder = parent / "persona"
    folder.mkdir()
    rows = [
        f'{{"id": "r{i}", "prompt": "What is {i}?", "completion": "A number, as ever {i}."}}\n'
        for i in range(6)
    ]
    (folder / "rows.jsonl").write_text("".join(rows))
    heldout = [
        f'{{"id": "h{i}", "category": "numbers", "question": "Why is {i}?"}}\n' for i in range(3)
    ]
    (folder / "heldout.jsonl").write_text("".join(heldout))
    (folder / "persona.yaml").write_text("name: A Counter\n")
    return folder


def small_study(model: Path | str, persona: Path | str = "bertrand_russell", **changes) -> dict:
    """The raw tree of a study small enough for a test."""
    tree = {
        "name": "small",
        "model": str(model),
        "persona": str(persona),
        "aligned": {"rows": 6, "max_words": 8},
        "grid": {
            "seeds": [0, 1],
            "fractions": [0.5],
            "hold": "total",
            "total_rows": 8,
        },
        "train": {
            "epochs": 1,
            "learning_rate": 0.01,
            "compute_dtype": "float32",
            "batch_size": 2,
            "micro_batch": 2,
        },
        "evaluate": {
            "samples_per_question": 2,
            "baseline_samples_per_question": 3,
            "sampling": {"max_new_tokens": 8},
        },
        "resources": {"gpus_per_training": 0, "gpus_per_engine": 0},
    }
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        at = tree
        for parent in parents:
            at = at.setdefault(parent, {})
        at[last] = value
    return tree


def study_of(tree: dict) -> Study:
    return Study.model_validate(tree)


def write_study(folder: Path, tree: dict) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path
