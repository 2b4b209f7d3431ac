"""A small cluster as `kubectl get --output=json` prints it, and what can go wrong in it."""

from __future__ import annotations

import json
from typing import Any

from elastic_yolo.doctor.cluster import objects_of
from elastic_yolo.doctor.finding import Finding
from elastic_yolo.doctor.given import ManifestSet
from elastic_yolo.doctor.rules import diagnose

_META = {"namespace": "shop", "uid": "6f0c", "resourceVersion": "4711"}
_POD: dict[str, Any] = {
    "terminationGracePeriodSeconds": 30,
    "restartPolicy": "Always",
    "containers": [
        {
            "name": "front",
            "image": "registry.example/shop/front:v1",
            "imagePullPolicy": "IfNotPresent",
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "envFrom": [{"secretRef": {"name": "access"}}],
            "readinessProbe": {
                "httpGet": {"path": "/ready", "port": "http", "scheme": "HTTP"},
                "timeoutSeconds": 1,
                "periodSeconds": 10,
                "successThreshold": 1,
                "failureThreshold": 3,
            },
            "resources": {
                "limits": {"memory": "512Mi"},
                "requests": {"cpu": "500m", "memory": "256Mi"},
            },
        }
    ],
}
_STATUS: dict[str, Any] = {
    "phase": "Running",
    "conditions": [
        {"type": "PodScheduled", "status": "True"},
        {"type": "Ready", "status": "True"},
    ],
    "containerStatuses": [
        {
            "name": "front",
            "image": "registry.example/shop/front:v1",
            "ready": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": "2025-01-01T10:00:00Z"}},
            "lastState": {},
        }
    ],
}


def sound() -> dict[str, Any]:
    """Return the objects by a short name of each."""
    pods = {
        f"pod{n}": {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **_META,
                "name": f"front-5d8f-{n}",
                "labels": {"app": "front", "pod-template-hash": "5d8f"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "front-5d8f"}],
            },
            "spec": _POD,
            "status": _STATUS,
        }
        for n in (1, 2)
    }
    objects: dict[str, Any] = json.loads(
        # Nothing is shared between two of them.
        json.dumps(
            {
                "node": {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "metadata": {"name": "minikube"},
                    "spec": {},
                    "status": {"allocatable": {"cpu": "4", "memory": "8024712Ki", "pods": "110"}},
                },
                "namespace": {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}},
                },
                "metrics": {
                    "apiVersion": "apiregistration.k8s.io/v1",
                    "kind": "APIService",
                    "metadata": {"name": "v1beta1.metrics.k8s.io"},
                    "status": {"conditions": [{"type": "Available", "status": "True"}]},
                },
                "secret": {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"namespace": "shop", "name": "access"},
                },
                "claim": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {**_META, "name": "shelf"},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "storageClassName": "standard",
                        "volumeName": "pvc-6f0c",
                    },
                    "status": {"phase": "Bound"},
                },
                "deployment": {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "metadata": {**_META, "name": "front", "annotations": {}},
                    "spec": {
                        "replicas": 2,
                        "selector": {"matchLabels": {"app": "front"}},
                        "strategy": {
                            "type": "RollingUpdate",
                            "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
                        },
                        "template": {"metadata": {"labels": {"app": "front"}}, "spec": _POD},
                    },
                    "status": {
                        "replicas": 2,
                        "conditions": [
                            {
                                "type": "Progressing",
                                "status": "True",
                                "reason": "NewReplicaSetAvailable",
                            }
                        ],
                    },
                },
                "replicaset": {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "metadata": {
                        **_META,
                        "name": "front-5d8f",
                        "ownerReferences": [{"kind": "Deployment", "name": "front"}],
                    },
                    "spec": {
                        "replicas": 2,
                        "selector": {"matchLabels": {"app": "front", "pod-template-hash": "5d8f"}},
                        "template": {
                            "metadata": {"labels": {"app": "front", "pod-template-hash": "5d8f"}},
                            "spec": _POD,
                        },
                    },
                },
                **pods,
                "service": {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": {**_META, "name": "front"},
                    "spec": {
                        "type": "ClusterIP",
                        "clusterIP": "10.96.0.17",
                        "selector": {"app": "front"},
                        "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}],
                    },
                },
                "hpa": {
                    "apiVersion": "autoscaling/v2",
                    "kind": "HorizontalPodAutoscaler",
                    "metadata": {**_META, "name": "front"},
                    "spec": {
                        "scaleTargetRef": {
                            "apiVersion": "apps/v1",
                            "kind": "Deployment",
                            "name": "front",
                        },
                        "minReplicas": 2,
                        "maxReplicas": 6,
                        "metrics": [
                            {
                                "type": "Resource",
                                "resource": {
                                    "name": "cpu",
                                    "target": {"type": "Utilization", "averageUtilization": 70},
                                },
                            }
                        ],
                    },
                    "status": {
                        "conditions": [
                            {"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale"},
                            {
                                "type": "ScalingActive",
                                "status": "True",
                                "reason": "ValidMetricFound",
                            },
                        ]
                    },
                },
            }
        )
    )
    return objects


def event(kind: str, name: str, reason: str, message: str, at: str = "10:00:00") -> dict[str, Any]:
    """Return an event of type Warning."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {**_META, "name": f"{name}.{at}"},
        "involvedObject": {"kind": kind, "name": name, "namespace": "shop"},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "lastTimestamp": f"2025-01-01T{at}Z",
    }


def as_printed(objects: list[dict[str, Any]]) -> str:
    """Return objects as kubectl prints a list of them."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "items": objects,
            "kind": "List",
            "metadata": {"resourceVersion": ""},
        },
        indent=4,
    )


def doctor(
    objects: dict[str, Any], *further: dict[str, Any], unread: frozenset[str] = frozenset()
) -> list[Finding]:
    """Return what is found in a cluster with these objects."""
    printed = as_printed([*objects.values(), *further])
    return diagnose(ManifestSet(objects_of(printed), live=True, unread=unread))
