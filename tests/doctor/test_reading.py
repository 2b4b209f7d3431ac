"""Reading manifests from files, folders, kustomizations and a cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elastic_yolo.doctor.cluster import objects_of, read_cluster, secrets_of
from elastic_yolo.doctor.errors import KubectlFailed, NothingToRead
from elastic_yolo.doctor.manifests import read_text
from elastic_yolo.doctor.sources import read_sources
from tests.support.doctor_cases import as_printed, base, cluster_objects
from tests.support.rendered import K8S, TOOLS, require_tools

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: one}\n"


def test_every_part_knows_its_line() -> None:
    (_, pod) = read_text(f"{POD}---\n# another\n{POD}spec:\n  containers: []\n", "a.yaml").manifests

    assert str(pod.at("spec", "containers")) == "Pod/one (a.yaml:10)"
    assert pod.at().line == 6
    assert pod.at("spec", "volumes", 3).line == 9


def test_every_item_of_a_list_knows_its_line() -> None:
    text = (
        "apiVersion: v1\nkind: List\nitems:\n"
        "  - apiVersion: v1\n    kind: Pod\n    metadata: {name: one}\n"
        "  - apiVersion: v1\n    kind: Pod\n    metadata: {name: two}\n"
    )
    one, two = read_text(text, "list.yaml").manifests

    assert (one.name, one.at("kind").line) == ("one", 5)
    assert (two.name, two.at("kind").line) == ("two", 8)


def test_json_is_read_like_yaml() -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}}, indent=1)
    (pod,) = read_text(text, "pod.json").manifests

    assert (pod.name, pod.at("kind").line) == ("one", 3)


def test_documents_before_an_unreadable_one_are_read() -> None:
    reading = read_text(f"{POD}---\nkind: [\n", "a.yaml")

    assert [one.name for one in reading.manifests] == ["one"]
    assert [one.code for one in reading.findings] == ["YAML01"]


def test_a_bomb_of_aliases_is_walked_once() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)
    )

    assert [one.code for one in read_text(bomb, "bomb.yaml").findings] == ["YAML02"]


def test_nesting_deeper_than_the_stack_is_a_finding() -> None:
    (found,) = read_text("[" * 100_000, "deep.yaml").findings

    assert found.code == "YAML01"
    assert "nested too deeply" in found.what


def test_a_python_tag_creates_no_object() -> None:
    (found,) = read_text("a: !!python/object/apply:os.getpid []\n", "tag.yaml").findings

    assert found.code == "YAML01"


def test_a_helm_template_is_recognised() -> None:
    (found,) = read_text("a: {{ .Values.a }}\nb: [", "t.yaml").findings

    assert "helm template" in found.fix


def test_a_folder_is_read_with_its_subfolders(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.yaml").write_text(POD)
    (tmp_path / "deeper" / "b.yml").write_text(base("shop"))
    (tmp_path / "notes.txt").write_text("not: [yaml")
    (tmp_path / ".git" / "c.yaml").write_text("not: [yaml")
    reading = read_sources([str(tmp_path)], None)

    assert reading.findings == []
    assert {one.file for one in reading.manifests} == {
        str(tmp_path / "a.yaml"),
        str(tmp_path / "deeper" / "b.yml"),
    }


def test_a_folder_of_overlays_is_not_read_as_one() -> None:
    with pytest.raises(NothingToRead, match=r"pass one of them: .*overlays/cloud"):
        read_sources([str(K8S)], None)


@pytest.mark.parametrize("name", ["absent", "empty", "chart"])
def test_a_path_without_manifests_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "chart").mkdir()
    (tmp_path / "chart" / "Chart.yaml").write_text("name: x\n")
    expected = {"absent": "no such file", "empty": "holds no .yaml", "chart": "helm template"}

    with pytest.raises(NothingToRead, match=expected[name]):
        read_sources([str(tmp_path / name)], None)


def test_a_kustomization_is_rendered() -> None:
    require_tools()
    overlay = K8S / "overlays" / "minikube"
    by_folder = read_sources([str(overlay)], [str(TOOLS / "kubectl")])
    by_file = read_sources([str(overlay / "kustomization.yaml")], [str(TOOLS / "kubectl")])

    assert len(by_folder.manifests) == len(by_file.manifests) > 30
    assert {(one.file, one.at().line) for one in by_folder.manifests} == {(str(overlay), 0)}


@pytest.mark.parametrize("kubectl", [None, ["/absent/kubectl"]])
def test_a_kustomization_without_kubectl_is_an_error(kubectl: list[str] | None) -> None:
    with pytest.raises(KubectlFailed, match="kubectl"):
        read_sources([str(K8S / "overlays" / "cloud")], kubectl)


def test_the_output_of_kubectl_is_read() -> None:
    objects = list(cluster_objects().values())

    assert [one.body for one in objects_of(as_printed(objects))] == objects
    assert [one.body for one in objects_of(json.dumps(objects[0]))] == objects[:1]
    assert objects_of("") == []
    with pytest.raises(KubectlFailed, match="invalid JSON"):
        objects_of("Unable to connect")


def test_only_the_names_of_secrets_are_read() -> None:
    (one, two) = secrets_of("shop   access\nshop   registry\n")

    assert (one.kind, one.namespace, one.name) == ("Secret", "shop", "access")
    assert (two.name, two.get("data")) == ("registry", None)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A stand-in for kubectl that prints files, and logs its calls."""
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(
        f"""#!/bin/sh
cd {tmp_path}
echo "$@" >> calls
if [ -f "$2.error" ]; then cat "$2.error" >&2; exit 1; fi
if [ -f "$2" ]; then cat "$2"; exit; fi
echo '{{"kind": "List", "apiVersion": "v1", "items": []}}'
"""
    )
    program.chmod(0o755)
    (tmp_path / "secrets").write_text("shop   access\n")
    unknown = 'error: the server doesn\'t have a resource type "scaledobjects"\n'
    (tmp_path / "scaledobjects.keda.sh.error").write_text(unknown)
    return tmp_path


def test_every_resource_of_a_cluster_is_read(recorded: Path) -> None:
    objects = cluster_objects()
    (recorded / "deployments.apps").write_text(as_printed([objects["Deployment/front"]]))
    forbidden = 'Error from server (Forbidden): nodes is forbidden: User "u" cannot list\n'
    (recorded / "nodes.error").write_text(forbidden)
    reported: list[tuple[str, int, int]] = []
    manifests = read_cluster(
        [str(recorded / "bin" / "kubectl")], "shop", lambda *progress: reported.append(progress)
    )

    assert [(one.kind, one.name) for one in manifests.manifests] == [
        ("Deployment", "front"),
        ("Secret", "access"),
    ]
    assert manifests.live
    assert manifests.unread == {"nodes"}
    assert reported[-1][1] == reported[-1][2] == len(reported)
    calls = (recorded / "calls").read_text().splitlines()
    assert all(call.startswith("get ") for call in calls)
    wide = [call.split()[1:3] for call in calls if "--namespace shop" not in call]
    assert wide == [
        ["namespaces", "--output=json"],
        ["nodes", "--output=json"],
        ["apiservices.apiregistration.k8s.io", "--output=json"],
        ["pods", "--all-namespaces"],
        ["deployments.apps/metrics-server", "configmaps/coredns"],
    ]
    # The content of Secrets is never requested.
    assert [call for call in calls if "secrets" in call and "json" in call] == []


def test_an_unavailable_cluster_is_an_error_and_no_finding(recorded: Path) -> None:
    refused = "The connection to the server localhost:8080 was refused - right host or port?\n"
    (recorded / "deployments.apps.error").write_text(refused)

    with pytest.raises(KubectlFailed, match="localhost:8080 was refused"):
        read_cluster([str(recorded / "bin" / "kubectl")], None, lambda *_: None)


def test_an_error_of_the_real_kubectl_is_passed_on() -> None:
    require_tools()
    # No process listens on port 1 of loopback.
    nowhere = [str(TOOLS / "kubectl"), "--kubeconfig=/dev/null", "--server=http://127.0.0.1:1"]

    with pytest.raises(KubectlFailed, match=r"127\.0\.0\.1:1 was refused"):
        read_cluster(nowhere, "shop", lambda *_: None)
