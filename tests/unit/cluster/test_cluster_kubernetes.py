"""The manifests for Kubernetes, held against the schemas of KubeRay and of Kubernetes itself."""

from __future__ import annotations

import copy
import json
import re
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from cluster_specs import CLUSTER, MANIFESTS, cluster_specs, of_kind, readme
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr,
)
from referencing import Registry, Resource
from studies import REPOSITORY, SUPPORT

from weirdgen.config.loading import load_study
from weirdgen.pipeline.plan import make_plan

KUBERNETES = "1.34"


def problems(document: dict[str, Any]) -> list[str]:
    """What KubeRay's schema, with Kubernetes' own for the pods, has against it."""
    kuberay = yaml.safe_load((SUPPORT / "data" / "kuberay.yaml").read_text())
    schemas = files(kubernetes_validate) / "kubernetes-json-schema"
    pods = json.loads((schemas / f"v{KUBERNETES}.0-local-strict/_definitions.json").read_text())
    schema = {**kuberay, "$ref": f"#/$defs/{document['kind']}"}
    registry = Registry().with_resource(pods["$id"], Resource.from_contents(pods))
    validator = jsonschema.Draft202012Validator(schema, registry=registry)
    return [error.message for error in validator.iter_errors(document)]


@pytest.mark.parametrize("kind", ["RayJob", "RayCluster"])
def test_manifests_are_what_kuberay_reads(kind: str):
    assert problems(of_kind(kind)) == []


def changed(path: Path, where: str) -> list[dict[str, Any]]:
    """The documents of a manifest whose user heeds what is to be uncommented and deleted `where`."""
    text = path.read_text()
    text = re.sub(rf"^# DELETE {where}: from here to `---`\.$.*?^---$", "", text, flags=re.M | re.S)
    lines = [line for line in text.splitlines() if f"# DELETE {where}" not in line]
    mark = re.compile(rf"^( *)# (.*# UNCOMMENT (?:{where}|as above).*)$")
    return [*yaml.safe_load_all("\n".join(mark.sub(r"\1\2", line) for line in lines))]


def pods(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The head's pod and the workers'."""
    spec = document["spec"].get("rayClusterSpec", document["spec"])
    groups = spec["headGroupSpec"], *spec["workerGroupSpecs"]
    return [group["template"]["spec"] for group in groups]


def storage_volumes(pod: dict[str, Any]) -> tuple[list[Any], list[str]]:
    """What `storage` is, and where it is mounted."""
    volumes = [each for each in pod["volumes"] if each["name"] == "storage"]
    mounts = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "storage"]
    return volumes, [each["mountPath"] for each in mounts]


def test_a_raycluster_without_the_lines_to_delete_for_a_bucket_has_no_disk():
    (document,) = changed(CLUSTER / "raycluster.yaml", "for a bucket")
    assert document["kind"] == "RayCluster"
    assert problems(document) == []
    assert [storage_volumes(pod) for pod in pods(document)] == [([], []), ([], [])]


def test_a_rayjob_with_the_lines_for_a_shared_disk_has_that_of_the_raycluster():
    (document,) = changed(CLUSTER / "rayjob.yaml", "for a shared disk")
    assert problems(document) == []
    disks = [storage_volumes(pod) for pod in pods(document)]
    assert disks == [storage_volumes(pod) for pod in pods(of_kind("RayCluster"))]
    assert disks[0][1] == ["/storage"]
    claim = of_kind("PersistentVolumeClaim")["metadata"]["name"]
    assert disks[0][0][0]["persistentVolumeClaim"] == {"claimName": claim}


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_every_pod_has_a_place_for_a_service_account(path: Path):
    document = changed(path, "where an account")[-1]
    assert problems(document) == []
    assert [pod["serviceAccountName"] for pod in pods(document)] == ["weirdgen", "weirdgen"]


@pytest.mark.parametrize("kind", ["RayJob", "RayCluster"])
def test_a_misspelled_field_fails_wherever_it_stands(kind: str):
    """At each place of the manifest in turn; under free keys, such as labels, all names are right."""
    document = of_kind(kind)
    free = {"rayStartParams", "nodeSelector", "requests", "limits"}

    def places(value: Any, path: tuple = ()) -> list[tuple]:
        if isinstance(value, list):
            return [each for i, part in enumerate(value) for each in places(part, (*path, i))]
        if not isinstance(value, dict) or (path and path[-1] in free):
            return []
        return [path, *(each for key, part in value.items() for each in places(part, (*path, key)))]

    found = places(document)
    assert len(found) > 30
    for path in found:
        changed = copy.deepcopy(document)
        at = changed
        for key in path:
            at = at[key]
        at["mispelled"] = 1
        assert problems(changed), path


def test_the_claim_for_a_shared_disk_is_kubernetes_own():
    claim = of_kind("PersistentVolumeClaim")
    kubernetes_validate.validate(claim, KUBERNETES, strict=True)
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize("spec", cluster_specs(), ids=["RayJob", "RayCluster"])
def test_the_autoscaler_reads_gpus_from_zero_and_nothing_to_run_on_the_head(spec: dict[str, Any]):
    metadata = {"name": "weirdgen", "namespace": "default"}
    config = _derive_autoscaling_config_from_ray_cr({"metadata": metadata, "spec": spec})
    types = config["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert types["gpu"]["resources"]["GPU"] == 1
    assert (types["gpu"]["min_workers"], types["gpu"]["max_workers"]) == (0, 8)
    assert config["idle_timeout_minutes"] == 10


@pytest.mark.parametrize("spec", cluster_specs(), ids=["RayJob", "RayCluster"])
def test_secrets_may_be_missing_and_the_judges_key_is_seen_by_the_head_alone(spec: dict[str, Any]):
    head, worker = (
        [each["secretRef"] for each in pod["containers"][0]["envFrom"]]
        for pod in pods({"spec": spec})
    )
    assert worker == [{"name": "node-access", "optional": True}]
    assert head == [{"name": "judge-key", "optional": True}, *worker]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_shown_secret_holds_the_key_that_the_study_names(path: Path):
    variable = load_study(REPOSITORY / "jobs" / "russell-smollm2-1.7b.yaml").judge.key_variable
    shown = f'create secret generic judge-key --from-literal={variable}="${variable}"'
    assert shown in path.read_text()


def test_a_study_and_a_persona_of_ones_own_reach_the_rayjobs_head_in_one_folder(tmp_path: Path):
    head, worker = pods(of_kind("RayJob"))
    (volume,) = (each for each in head["volumes"] if "configMap" in each)
    shown = f"kubectl create configmap {volume['configMap']['name']} --from-file=my-study.yaml"
    assert shown in readme()
    assert shown in (CLUSTER / "rayjob.yaml").read_text()
    assert volume["configMap"]["optional"], "none for a study of the image"
    mounts = {each["name"]: each["mountPath"] for each in head["containers"][0]["volumeMounts"]}
    assert f"weirdgen run {mounts[volume['name']]}/my-study.yaml" in readme()
    assert not any("configMap" in each for each in worker["volumes"]), "the driver reads it alone"
    # As a ConfigMap is mounted: all files in one folder, each a link.
    given = tmp_path / "..data"
    shutil.copytree(REPOSITORY / "weirdgen" / "data" / "personas" / "bertrand_russell", given)
    study = (REPOSITORY / "jobs" / "local.yaml").read_text()
    own = study.replace("persona: bertrand_russell", "persona: ./")
    (given / "my-study.yaml").write_text(own)
    for file in given.iterdir():
        (tmp_path / file.name).symlink_to(Path("..data", file.name))
    assert own != study
    plans = [
        make_plan(load_study(path), path.parent)
        for path in (tmp_path / "my-study.yaml", REPOSITORY / "jobs" / "local.yaml")
    ]
    assert plans[0].by_fingerprint.keys() == plans[1].by_fingerprint.keys()


@pytest.mark.parametrize("spec", cluster_specs(), ids=["RayJob", "RayCluster"])
def test_every_mount_has_its_volume_and_the_object_store_fits_into_shared_memory(spec: dict):
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        volumes = {each["name"]: each for each in pod["volumes"]}
        mounted = {each["name"] for each in pod["containers"][0]["volumeMounts"]}
        assert mounted == set(volumes)
        shm = int(volumes["shm"]["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 2**30
        assert int(group["rayStartParams"]["object-store-memory"]) < shm
