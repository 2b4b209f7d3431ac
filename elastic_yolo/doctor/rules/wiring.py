"""Rules for Services, Ingresses, probes and selectors: what they refer to must exist."""

from __future__ import annotations

from collections.abc import Iterator

from elastic_yolo.doctor.finding import Finding, error, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.ports import Target, has_target, show_ports
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.selectors import label_values, selects, show
from elastic_yolo.doctor.values import Path, dig, mapping, mappings, text, whole
from elastic_yolo.doctor.workload import Workload

_SELECTING = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
# These have a selector of their own only where it is stated.
_MAY_SELECT = ("Job", "ReplicationController", "Rollout", "CloneSet", "DeploymentConfig")


def service_without_pods(manifests: ManifestSet) -> Iterator[Finding]:
    """SVC01: a Service selects no pod."""
    for service, selector in _selecting_services(manifests):
        if not manifests.selected_by(service.namespace, selector) and not manifests.may_be_made_for(
            service.namespace, label_values(selector)
        ):
            yield manifests.missing(
                service.namespace,
                service.at("spec", "selector"),
                f"The Service selects {show(selector)}, and no pod template has these labels.",
                "It has no endpoints: every connection to it fails.",
                f"Set the selector to labels of the pods{_labels_there(manifests, service)}.",
            )


def service_port_missing(manifests: ManifestSet) -> Iterator[Finding]:
    """SVC02: no container has the targetPort."""
    for service, selector in _selecting_services(manifests):
        for place, port in mappings(service.spec, "ports"):
            target = port.get("targetPort", port.get("port"))
            if not isinstance(target, int | str):
                continue
            chosen = _servers(manifests, service, selector)
            served = isinstance(target, str) and any(has_target(one, target) for one in chosen)
            for workload in chosen:
                # Pods without a named port that others have are just no endpoints.
                if not served and not has_target(workload, target):
                    yield error(
                        service.at("spec", "ports", place, "targetPort"),
                        f"No container of {workload.name} has the targetPort {target}; its "
                        f"ports: {show_ports(workload)}.",
                        "Connections are refused, or the pods do not become endpoints.",
                        "Set targetPort to the name or the number of a containerPort.",
                    )


def service_without_readiness(manifests: ManifestSet) -> Iterator[Finding]:
    """SVC03: the pods of a Service have no readinessProbe."""
    seen = set()
    for service, selector in _selecting_services(manifests):
        for workload in _servers(manifests, service, selector):
            if workload in seen or not workload.containers:
                continue
            seen.add(workload)
            if not any(mapping(one.body, "readinessProbe") for one in workload.containers):
                yield warning(
                    workload.containers[0].at(),
                    f"Service/{service.name} sends requests to {workload.name}, which has no "
                    "readinessProbe.",
                    "A pod receives requests before its program is ready: some fail at each "
                    "rollout and each scale-up.",
                    "Add a readinessProbe that succeeds once the program can serve.",
                )


def selector_misses_template(manifests: ManifestSet) -> Iterator[Finding]:
    """DEP01: a workload's selector does not match its own template."""
    for one in manifests.of_kind(*_SELECTING):
        selector = mapping(one.spec, "selector")
        if not any(selector.values()):
            yield error(
                one.at("spec"),
                f"{one.kind}/{one.name} has no selector.",
                "apps/v1 requires one: the API server rejects the object.",
                "Add spec.selector.matchLabels with labels of the template.",
            )
        else:
            yield from _mismatch(one, selector)
    for one in manifests.of_kind(*_MAY_SELECT) if not manifests.live else ():
        selector = mapping(one.spec, "selector")
        if one.kind == "Job" and selector and one.spec.get("manualSelector") is not True:
            yield error(
                one.at("spec", "selector"),
                f"Job/{one.name} has a selector, and manualSelector is not true.",
                "Kubernetes makes the selector of a Job: the API server rejects another one.",
                "Remove spec.selector.",
            )
        # A Rollout may have its template in a Deployment.
        elif selector and mapping(one.spec, "template"):
            yield from _mismatch(one, selector)


def _mismatch(one: Manifest, selector: dict[object, object]) -> Iterator[Finding]:
    labels = mapping(one.spec, "template", "metadata", "labels")
    if not selects(selector, labels):
        yield error(
            one.at("spec", "selector"),
            f"The selector is {show(selector)}; the template's labels are {show(labels)}.",
            "The API server rejects it: `selector` does not match template `labels`.",
            "Make the labels in spec.selector and in spec.template the same.",
        )


def probe_port_missing(manifests: ManifestSet) -> Iterator[Finding]:
    """PRB01: a probe uses a port that does not exist."""
    for workload in manifests.workloads:
        numbers = workload.port_numbers
        for container in workload.all_containers:
            for name, probe in container.probes():
                path, port = _probe_port(probe)
                place = container.at(name, *path)
                ends = (
                    "The container is restarted again and again"
                    if name != "readinessProbe"
                    else ("The pod never becomes ready")
                )
                if isinstance(port, str) and port not in container.port_names:
                    yield error(
                        place,
                        f"The {name} uses port {port!r}, and the container {container.name} has "
                        "no port of that name.",
                        f"{ends}.",
                        "Use the name or the number of a port of this container.",
                    )
                elif isinstance(port, int) and numbers and port not in numbers:
                    yield warning(
                        place,
                        f"The {name} uses port {port}; the pod declares "
                        f"{', '.join(map(str, sorted(numbers)))}.",
                        f"{ends}, unless the program listens on an undeclared port.",
                        "Correct the port, or declare it under ports.",
                    )


def ingress_backend_missing(manifests: ManifestSet) -> Iterator[Finding]:
    """ING01: the backend of an Ingress does not exist."""
    for ingress in manifests.of_kind("Ingress"):
        for path, backend in _backends(ingress):
            name = text(backend, "service", "name")
            service = manifests.named("Service", ingress.namespace, name)
            port = dig(backend, "service", "port", "number") or dig(
                backend, "service", "port", "name"
            )
            if name and service is None:
                yield error(
                    ingress.at(*path),
                    f"The backend Service/{name} does not exist.",
                    "Requests through the Ingress get 503 or 404.",
                    f"Correct the name, or add the Service in namespace {ingress.namespace}.",
                )
            elif service is not None and isinstance(port, int | str) and not _serves(service, port):
                yield error(
                    ingress.at(*path, "service", "port"),
                    f"The backend Service/{name} has no port {port}; it has "
                    f"{', '.join(_service_ports(service)) or 'no ports'}.",
                    "Requests through the Ingress get 503.",
                    "Use the Service's port, not the container's: its number under number, or its "
                    "name under name.",
                )


def _selecting_services(manifests: ManifestSet) -> Iterator[tuple[Manifest, dict[object, object]]]:
    for service in manifests.of_kind("Service"):
        selector = mapping(service.spec, "selector")
        if selector and text(service.spec, "type") != "ExternalName":
            yield service, selector


def _servers(manifests: ManifestSet, service: Manifest, selector: object) -> list[Workload]:
    """Return the workloads that a Service is for: no hooks, and jobs only if there is no other."""
    chosen = manifests.selected_by(service.namespace, selector)
    lasting = [one for one in chosen if not one.is_hook and not one.is_job]
    return lasting or [one for one in chosen if not one.is_hook]


def _labels_there(manifests: ManifestSet, service: Manifest) -> str:
    here = [one for one in manifests.workloads if one.namespace == service.namespace]
    # The workload of the same name, or the only one.
    likely = next((one for one in here if one.manifest.name == service.name), None)
    likely = likely or (here[0] if len(here) == 1 else None)
    return "" if likely is None else f"; {likely.name} has {show(likely.labels)}"


def _probe_port(probe: dict[object, object]) -> tuple[Path, Target | None]:
    for kind in ("httpGet", "tcpSocket", "grpc"):
        port = mapping(probe, kind).get("port")
        if isinstance(port, int | str) and not isinstance(port, bool):
            return (kind, "port"), port
    return (), None


def _backends(ingress: Manifest) -> Iterator[tuple[Path, dict[object, object]]]:
    if default := mapping(ingress.spec, "defaultBackend"):
        yield ("spec", "defaultBackend"), default
    for rule, body in mappings(ingress.spec, "rules"):
        for place, entry in mappings(body, "http", "paths"):
            path = ("spec", "rules", rule, "http", "paths", place, "backend")
            yield path, mapping(entry, "backend")


def _serves(service: Manifest, port: Target) -> bool:
    if text(service.spec, "type") == "ExternalName":
        return True
    key = "port" if isinstance(port, int) else "name"
    return any(one.get(key) == port for _, one in mappings(service.spec, "ports"))


def _service_ports(service: Manifest) -> list[str]:
    found = []
    for _, port in mappings(service.spec, "ports"):
        name, number = text(port, "name"), whole(port, "port")
        found.append(f"{number} ({name})" if name else f"{number}")
    return found


RULES = (
    Rule("SVC01", service_without_pods),
    Rule("SVC02", service_port_missing),
    Rule("SVC03", service_without_readiness),
    Rule("DEP01", selector_misses_template),
    Rule("PRB01", probe_port_missing),
    Rule("ING01", ingress_backend_missing),
)
