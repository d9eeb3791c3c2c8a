"""The Kubernetes manifests under cluster/, parsed."""

from __future__ import annotations

from typing import Any

import yaml
from studies import REPOSITORY

CLUSTER = REPOSITORY / "cluster"

MANIFESTS = (CLUSTER / "rayjob.yaml", CLUSTER / "raycluster.yaml")


def readme() -> str:
    return (CLUSTER / "README.md").read_text()


def documents() -> list[dict[str, Any]]:
    return [each for path in MANIFESTS for each in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str) -> dict[str, Any]:
    return next(each for each in documents() if each["kind"] == kind)


def cluster_specs() -> list[dict[str, Any]]:
    return [of_kind("RayJob")["spec"]["rayClusterSpec"], of_kind("RayCluster")["spec"]]
