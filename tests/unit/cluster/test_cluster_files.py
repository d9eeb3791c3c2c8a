"""The files under cluster/: each is held against the schema, the linter or the loader of what reads it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml
from cluster_specs import CLUSTER, cluster_specs, of_kind, readme
from packaging.requirements import Requirement
from packaging.version import Version
from ray.autoscaler._private.docker import validate_docker_config
from ray.autoscaler._private.util import prepare_config, validate_config
from studies import REPOSITORY

from weirdgen.cli.main import main

TOOLS = Path(sys.executable).parent


def ray_up() -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / "ray-up.yaml").read_text())


def test_ray_up_takes_its_file():
    config = prepare_config(ray_up())
    validate_config(config)
    validate_docker_config(config)
    gpu = config["available_node_types"]["gpu"]
    assert (gpu["min_workers"], gpu["max_workers"], config["max_workers"]) == (0, 8, 8)
    assert gpu["resources"] == {"CPU": 8, "GPU": 1}
    assert config["setup_commands"] == [], "nothing is installed when it runs"


def test_ray_up_refuses_a_misspelled_field():
    config = {**ray_up(), "idle_timeout_minuts": 5}
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minuts"):
        validate_config(prepare_config(config))


@pytest.mark.parametrize("part", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_what_ray_up_runs_on_nodes_is_clean_bash(part: str):
    script = "#!/bin/bash\nRAY_HEAD_IP=x\n" + "\n".join(ray_up()[part]) + "\n"
    command = [TOOLS / "shellcheck", "--exclude=SC2086,SC2034", "-"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("key", ["a-key", None])
def test_what_ray_up_runs_on_nodes_passes_keys_on_and_starts_without_them(
    key: str | None, tmp_path: Path
):
    fake = {"python": f"echo {key}" if key else "echo none >&2; exit 1", "ray": "env"}
    for name, script in fake.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    for part, names in {"head": ["OPENROUTER_API_KEY", "HF_TOKEN"], "worker": ["HF_TOKEN"]}.items():
        command = ray_up()[f"{part}_start_ray_commands"][-1]
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "RAY_HEAD_IP": "x"}
        done = subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True, check=True
        )
        seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        assert {name: seen[name] for name in names} == dict.fromkeys(names, key or "")
        assert seen["RAY_AUTH_MODE"] == "token"


def test_what_ray_up_asks_aws_for_is_python():
    commands = [ray_up()[f"{part}_start_ray_commands"][-1] for part in ("head", "worker")]
    codes = [code for command in commands for code in re.findall(r"python -c '(.*?)'", command)]
    assert len(codes) == 2
    for code in codes:
        compile(code, "ray-up.yaml", "exec")


def test_the_sbatch_script_is_clean_bash():
    script = CLUSTER / "slurm.sbatch"
    for command in (["bash", "-n", script], [TOOLS / "shellcheck", script]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_sbatch_options_stand_before_the_first_command():
    lines = (CLUSTER / "slurm.sbatch").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    options = [i for i, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert options
    assert max(options) < first, "Slurm reads no further"


def test_the_dockerfile_is_clean():
    command = [TOOLS / "hadolint", CLUSTER / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_is_made_of_pinned_packages_alone():
    text = (CLUSTER / "Dockerfile").read_text()
    installs = re.findall(r"pip install (.*)", text)
    assert len(installs) == 2
    for install in installs:
        assert "--no-deps" in install
        assert "--requirement /tmp/requirements.txt" in install or "--no-build-isolation" in install
    assert text.splitlines()[-1] == "USER 1000"


def pins(path: Path) -> dict[str, Version]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    named = (line.split("==") for line in lines)
    return {name: Version(version) for name, version in named}


def test_the_images_pins_are_what_the_package_asks_for():
    pinned = pins(CLUSTER / "requirements.txt")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["gpu"], *extras["cluster"]]
    for requirement in map(Requirement, asked):
        assert pinned[requirement.name] in requirement.specifier, requirement


def test_manifests_and_the_image_have_one_ray():
    ray = str(pins(CLUSTER / "requirements.txt")["ray"])
    assert ray == str(pins(REPOSITORY / "constraints.txt")["ray"])
    assert [spec["rayVersion"] for spec in cluster_specs()] == [ray, ray]
    assert f"ray[default]=={ray}" in (CLUSTER / "ray-up.yaml").read_text()


def test_what_the_dockerfile_copies_exists_and_is_not_ignored():
    kept = (REPOSITORY / ".dockerignore").read_text().splitlines()
    copies = re.findall(r"^COPY (.*)$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)
    sources = [source for copy in copies for source in copy.split()[:-1]]
    assert len(sources) == 7
    for source in sources:
        assert (REPOSITORY / source).exists()
        assert f"!{source}" in kept


@pytest.mark.parametrize(
    "name", ["Dockerfile", "rayjob.yaml", "raycluster.yaml", "ray-up.yaml", "slurm.sbatch"]
)
def test_what_a_user_must_change_says_so(name: str):
    lines = (CLUSTER / name).read_text().splitlines()
    assert any("CHANGE" in line for line in lines)
    told = [line for line in lines if "CHANGE" in line]
    once_for_all = any("in this file" in line for line in told)
    for before, line in zip(["", *lines], lines, strict=False):
        if "YOUR-" in line and "CHANGE" not in before + line:
            assert once_for_all, line
            assert "image:" in line, line


def shown_commands() -> list[list[str]]:
    """Every `weirdgen ...` that the cluster's files show."""
    shown = [of_kind("RayJob")["spec"]["entrypoint"]]
    shown += re.findall(r"^    (.*weirdgen (?:run|plan|status) .*)$", readme(), re.MULTILINE)
    return [shlex.split(each[each.index("weirdgen ") :], comments=True)[1:] for each in shown]


@pytest.mark.parametrize("arguments", shown_commands(), ids=" ".join)
def test_shown_commands_are_the_real_ones_and_name_files_that_exist(arguments: list[str]):
    name, *rest = arguments
    command = main.commands[name]
    with click.Context(main) as parent:
        given = command.make_context(name, rest, parent=parent).params
    assert (REPOSITORY / given["study"]).is_file()
    assert given["storage"].startswith(("s3://", "/")), (
        "no node shares a folder relative to its own"
    )


def test_files_that_the_readme_names_exist():
    named = set(re.findall(r"`([a-z_-]+\.(?:yaml|sbatch|py|txt))`", readme()))
    assert len(named) == 6
    for name in named:
        assert (CLUSTER / name).is_file(), name


def test_the_clusters_study_can_be_planned_but_for_its_model(tmp_path: Path):
    command = [
        sys.executable,
        "-m",
        "weirdgen",
        "plan",
        REPOSITORY / "jobs" / "russell-smollm2-1.7b.yaml",
    ]
    command += ["--set", "model=embedded:smollm2-135m-instruct", "--storage", tmp_path]
    command += ["--gpus", "8", "--gpu-memory", "24"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "16 seeds per fraction" in done.stdout
