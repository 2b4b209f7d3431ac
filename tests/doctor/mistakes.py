"""One mistake for every rule about manifests, put into the sound ones; and what is none."""

from __future__ import annotations

from dataclasses import dataclass

Change = tuple[str, str]

_HPA = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: front, namespace: shop}
"""
_SECOND_HPA = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: other, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: %s}
  minReplicas: 1
  maxReplicas: 6
  metrics:
    - type: Pods
      pods: {metric: {name: queue}, target: {type: AverageValue, averageValue: "3"}}
---
"""
_METRIC = "      resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}\n"
_REQUESTS = "          resources: {requests: {cpu: 10m}}\n"
_WEB_LIMITS = "            limits: {cpu: 1500m, memory: 256Mi}\n"
_STARTUP = (
    "          startupProbe: "
    "{httpGet: {path: /livez, port: api}, periodSeconds: 1, failureThreshold: 90}\n"
)
_DNS = "    - ports:\n        - {protocol: UDP, port: 53}\n"
_TOLERATION = "        - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}\n"
_CLAIM = "  accessModes: [ReadWriteMany]\n  storageClassName: nfs\n"
_RWO = (_CLAIM, "  accessModes: [ReadWriteOnce]\n")
_PROBE = "          readinessProbe: {httpGet: {path: /ready, port: http}}\n"
_TIDY_POD = """\
          restartPolicy: OnFailure
          securityContext:
            {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
"""
_TIDY = (
    "              image: busybox:1.36\n              securityContext: "
    "{allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n"
)
_MOUNT = "            - {name: shelf, mountPath: /shelf}\n"
_EXTRA = "---\napiVersion: v1\nkind: LimitRange\nmetadata: {name: usual, namespace: shop}\nspec:\n"


@dataclass(frozen=True)
class Case:
    """A change of the sound manifests. `line` is some text of the line that is named."""

    code: str
    name: str
    changes: tuple[Change, ...]
    severity: str = "error"
    line: str = ""


MISTAKES = (
    Case("YAML01", "a tab", (("spec:\n  schedule:", "spec:\n\tschedule:"),), line="\tschedule"),
    Case("YAML02", "no kind", (("kind: Ingress\n", ""),)),
    Case(
        "YAML03",
        "a key twice",
        (("  minReplicas: 2\n", "  minReplicas: 2\n  minReplicas: 3\n"),),
        "warning",
        "  minReplicas: 3",
    ),
    Case(
        "YAML04",
        "an object twice",
        (
            (
                "kind: ConfigMap\nmetadata: {name: front",
                "kind: Namespace\nmetadata: {name: shop}\n"
                "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: front",
            ),
        ),
        "warning",
        "apiVersion: v1",
    ),
    Case("YAML05", "a bare number", (('"60"', "60"),), line="MODEL_WAIT_S"),
    Case("YAML05", "a bare yes", (('colour: "blue"', "colour: yes"),), line="colour: yes"),
    Case("YAML05", "a label", (("  labels: {pod-", "  labels: {version: 1, pod-"),)),
    Case("API01", "v2beta2", ((_HPA, _HPA.replace("/v2", "/v2beta2")),), line="v2beta2"),
    Case("HPA01", "a sidecar without", ((_REQUESTS, ""),), line="name: log-shipper"),
    Case(
        "HPA01",
        "limits on memory alone",
        ((_REQUESTS, "          resources: {limits: {memory: 1Gi}}\n"),),
    ),
    Case(
        "HPA02",
        "a name",
        (
            ("kind: Deployment, name: front}", "kind: Deployment, name: fron}"),
            ("minAvailable: 1", "maxUnavailable: 1"),
        ),
    ),
    Case(
        "HPA02",
        "of a ScaledObject",
        (("scaleTargetRef: {name: back}", "scaleTargetRef: {name: b}"),),
    ),
    Case("HPA03", "a second", ((_HPA, _SECOND_HPA % "front" + _HPA),)),
    Case("HPA04", "crossed", (("minReplicas: 2", "minReplicas: 7"),), line="minReplicas: 7"),
    Case(
        "HPA05",
        "replicas",
        (
            (
                "spec:\n  selector: {matchLabels: {app: front}}\n  strategy",
                "spec:\n  replicas: 1\n  selector: {matchLabels: {app: front}}\n  strategy",
            ),
        ),
        "warning",
        "replicas: 1",
    ),
    Case("HPA07", "both", ((_HPA, _SECOND_HPA % "back" + _HPA),)),
    Case("HPA09", "fixed", (("maxReplicas: 6", "maxReplicas: 2"),), "warning", "maxReplicas: 2"),
    Case("SVC01", "a label", (("  selector: {app: front}\n", "  selector: {app: fronts}\n"),)),
    Case("SVC02", "a name", (("targetPort: http", "targetPort: https"),), line="targetPort: https"),
    Case("SVC02", "a number", (("targetPort: http", "targetPort: 8081"),)),
    Case("SVC02", "a number as text", (("targetPort: http", 'targetPort: "8080"'),)),
    Case("SVC03", "no probe", ((_PROBE, ""),), "warning"),
    Case("DEP01", "a label", (("values: [back]", "values: [beck]"),)),
    Case(
        "DEP01",
        "no selector",
        (("  selector: {matchLabels: {app: front}}\n  strategy", "  strategy"),),
    ),
    Case("PRB01", "an unknown name", ((_PROBE, _PROBE.replace("port: http", "port: web")),)),
    Case("PRB01", "a number", (("/alive, port: 8080", "/alive, port: 8081"),), line="/alive"),
    Case(
        "PRB02",
        "impatient",
        ((_STARTUP, ""), ('"60"', '"1"')),
        "warning",
        "livenessProbe: {httpGet: {path: /livez",
    ),
    Case("PRB03", "a short one", (("failureThreshold: 90", "failureThreshold: 50"),)),
    Case(
        "ING01",
        "a name",
        (("{name: front, port: {number: 80}}", "{name: fron, port: {number: 80}}"),),
    ),
    Case("ING01", "the container's port", (("{number: 80}", "{number: 8080}"),)),
    Case("ING01", "a port's name", (("{number: 80}", "{name: http}"),)),
    Case("URL01", "no such Service", (("http://back:9000", "http://beck:9000"),), "warning"),
    Case("URL01", "no such port", (("http://back:9000", "http://back:9090"),)),
    Case(
        "NET01",
        "for nobody",
        (
            (
                "  podSelector: {matchLabels: {app: back}}\n  ingress",
                "  podSelector: {matchLabels: {app: beck}}\n  ingress",
            ),
        ),
        "warning",
    ),
    Case(
        "NET02",
        "another port",
        (("        - {port: api}\n", "        - {port: api}\n        - {port: 9000}\n"),),
        "warning",
        "{port: 9000}",
    ),
    Case("NET03", "no names", ((_DNS, ""),)),
    Case("NET03", "names over TCP", (("protocol: UDP", "protocol: TCP"),)),
    Case(
        "NET04",
        "the Service's port",
        (("{protocol: TCP, port: 9090}", "{protocol: TCP, port: 9000}"),),
    ),
    Case(
        "NET04",
        "not let in",
        (
            (
                "- podSelector: {matchLabels: {app: front}}",
                "- podSelector: {matchLabels: {app: back}}",
            ),
        ),
    ),
    Case("CFG01", "a key", (("key: colour}", "key: color}"),), line="key: color}"),
    Case(
        "CFG01",
        "a map",
        (("configMapRef: {name: front}", "configMapRef: {name: frond}"),),
        "warning",
    ),
    Case("VOL01", "a claim", (("claimName: shelf", "claimName: shelve"),), "warning"),
    Case("VOL01", "a map", (("configMap: {name: front}", "configMap: {name: frond}"),), "warning"),
    Case(
        "VOL01",
        "a secret",
        (("configMap: {name: front}", "secret: {secretName: gone}"),),
        "warning",
    ),
    Case("VOL02", "a mount", ((_MOUNT, _MOUNT.replace("name: shelf", "name: shelve")),)),
    Case(
        "IMG01",
        "Always, built here",
        (("image: elastic-yolo/inference:v1", "image: elastic-yolo/inference"),),
    ),
    Case(
        "IMG01",
        "Always, stated",
        (("busybox:1.36", "busybox:1.36\n              imagePullPolicy: Always"),),
        "warning",
    ),
    Case("IMG02", "latest", (("front:v1", "front:latest"),), "warning", "front:latest"),
    Case("IMG02", "no tag", (("shop/front:v1", "shop/front"),), "warning"),
    Case(
        "IMG03",
        "one forgotten",
        (("registry.example/shop/log-shipper", "shop/log-shipper"),),
        "warning",
    ),
    Case("PVC01", "no class", (("  storageClassName: nfs\n", ""),), "warning"),
    Case("PVC02", "up to six", (_RWO,), "warning", "accessModes"),
    Case("RES01", "memory", ((_WEB_LIMITS, _WEB_LIMITS.replace("256Mi", "100M")),), line="100M"),
    Case("RES02", "threads", (('THREADS, value: "2"', 'THREADS, value: "4"'),), "warning"),
    Case(
        "RES02",
        "an engine",
        (
            (
                'cpu: "1", memory: 1Gi, nvidia.com/gpu: 1}\n            limits: {cpu: "1"',
                'cpu: "0.5", memory: 1Gi, nvidia.com/gpu: 1}\n            limits: {cpu: "0.5"',
            ),
        ),
        "warning",
    ),
    Case(
        "GPU02",
        "no toleration",
        (("key: nvidia.com/gpu, operator", "key: gpu, operator"),),
        "warning",
    ),
    Case(
        "GPU03",
        "a request alone",
        (
            (
                'limits: {cpu: "1", memory: 1Gi, nvidia.com/gpu: 1}',
                'limits: {cpu: "1", memory: 1Gi}',
            ),
        ),
    ),
    Case("TERM01", "a long sleep", (("sleep 5", "sleep 45"),), line="terminationGracePeriod"),
    Case(
        "TERM01",
        "draining",
        (
            (
                "- {name: MODEL_WAIT_S",
                '- {name: DRAIN_DELAY_S, value: "5"}\n            - {name: MODEL_WAIT_S',
            ),
        ),
    ),
    Case("DEP02", "neither", (("maxSurge: 1,", "maxSurge: 0,"),), line="rollingUpdate"),
    Case("DEP02", "all", (("maxUnavailable: 0}", 'maxUnavailable: "100%"}'),), "warning"),
    Case("PDB01", "as many as there are", (("minAvailable: 1", "minAvailable: 2"),), "warning"),
    Case("PDB01", "a share", (("minAvailable: 1", 'minAvailable: "51%"'),), "warning"),
    Case("PDB01", "none", (("minAvailable: 1", "maxUnavailable: 0"),), "warning"),
    Case(
        "PDB01",
        "for nobody",
        (
            (
                "  minAvailable: 1\n  selector: {matchLabels: {app: front}}",
                "  minAvailable: 1\n  selector: {matchLabels: {app: frond}}",
            ),
        ),
        "warning",
    ),
    Case("JOB01", "Always", (("restartPolicy: OnFailure", "restartPolicy: Always"),)),
    Case("JOB01", "not stated", (("          restartPolicy: OnFailure\n", ""),)),
    Case("SEC01", "root", ((_TIDY_POD, _TIDY_POD.replace("runAsUser: 1000", "runAsUser: 0")),)),
    Case("SEC01", "perhaps", ((_TIDY_POD, _TIDY_POD.replace("runAsNonRoot: true, ", "")),)),
    Case("SEC02", "none", ((_TIDY_POD, _TIDY_POD.replace("RuntimeDefault", "Unconfined")),)),
    Case("SEC03", "escalation", ((_TIDY, _TIDY.replace("allowPrivilegeEscalation: false, ", "")),)),
    Case("SEC04", "kept", ((_TIDY, _TIDY.replace(", capabilities: {drop: [ALL]}", "")),)),
    Case(
        "SEC04", "added", ((_TIDY, _TIDY.replace("drop: [ALL]", "drop: [ALL], add: [NET_ADMIN]")),)
    ),
    Case(
        "SEC05",
        "a path of the node",
        (("configMap: {name: front}", "hostPath: {path: /etc}"),),
    ),
)
"""In each, exactly its code is found."""

FINE = (
    Case(
        "HPA01",
        "the limit is the request where only that is stated",
        ((_REQUESTS, "          resources: {limits: {cpu: 100m}}\n"),),
    ),
    Case(
        "HPA01",
        "a default of the namespace",
        (
            (_REQUESTS, ""),
            (
                "---\napiVersion: v1\nkind: ConfigMap",
                _EXTRA
                + "  limits: [{type: Container, defaultRequest: {cpu: 50m}}]\n---\napiVersion: v1\n"
                "kind: ConfigMap",
            ),
        ),
    ),
    Case(
        "HPA01",
        "one container is asked alone",
        (
            (_REQUESTS, ""),
            (
                "    - type: Resource\n" + _METRIC,
                "    - type: ContainerResource\n"
                "      containerResource: {name: cpu, container: front, target: {type: Utilization, "
                "averageUtilization: 70}}\n",
            ),
        ),
    ),
    Case(
        "HPA01",
        "an absolute target needs no request",
        (
            (_REQUESTS, ""),
            (
                "{type: Utilization, averageUtilization: 70}",
                "{type: AverageValue, averageValue: 400m}",
            ),
        ),
    ),
    Case(
        "HPA02",
        "a kind that others bring",
        (
            (
                "{apiVersion: apps/v1, kind: Deployment, name: front}",
                "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: front}",
            ),
            ("minAvailable: 1", "maxUnavailable: 1"),
        ),
    ),
    Case(
        "SVC02",
        "undeclared ports",
        (
            ("            - {name: http, containerPort: 8080}\n", ""),
            ("          ports:\n          lifecycle", "          lifecycle"),
            ("targetPort: http", "targetPort: 8080"),
            (_PROBE, _PROBE.replace("http}", "8080}")),
        ),
    ),
    Case("URL01", "an address of the internet", (("http://back:9000", "https://api.example/x"),)),
    Case(
        "URL01",
        "the Service's full name",
        (("http://back:9000", "http://back.shop.svc.cluster.local:9000"),),
    ),
    Case(
        "NET03",
        "nobody may be talked to",
        (
            (
                "  egress:\n    - to:\n        - podSelector: {matchLabels: {app: back}}\n      ports:\n"
                "        - {protocol: TCP, port: 9090}\n" + _DNS,
                "",
            ),
            ("  BACK_URL: http://back:9000\n", ""),
        ),
    ),
    Case(
        "NET03",
        "names of kube-system alone",
        (
            (
                _DNS,
                "    - to:\n        - namespaceSelector: "
                "{matchLabels: {kubernetes.io/metadata.name: kube-system}}\n      ports:\n"
                "        - {protocol: UDP, port: 53}\n",
            ),
        ),
    ),
    Case(
        "NET04",
        "a range",
        (("{protocol: TCP, port: 9090}", "{protocol: TCP, port: 9000, endPort: 9100}"),),
    ),
    Case("CFG01", "optional", (("key: colour}", "key: color, optional: true}"),)),
    Case(
        "CFG01",
        "a secret is made elsewhere",
        (
            (
                "configMapKeyRef: {name: front, key: colour}",
                "secretKeyRef: {name: gone, key: colour}",
            ),
        ),
    ),
    Case(
        "VOL01",
        "optional",
        (("configMap: {name: front}", "configMap: {name: gone, optional: true}"),),
    ),
    Case(
        "IMG01",
        "loaded, not pulled",
        (
            (
                "image: elastic-yolo/inference:v1",
                "image: elastic-yolo/inference\n          imagePullPolicy: IfNotPresent",
            ),
        ),
    ),
    Case("IMG02", "a digest", (("front:v1", "front@sha256:" + "0" * 64),)),
    Case(
        "IMG02",
        "a registry with a port",
        (("registry.example/shop/front:v1", "localhost:5000/shop/front:v1"),),
    ),
    Case("PVC01", "a volume by name", (("storageClassName: nfs", "volumeName: made-by-hand"),)),
    Case(
        "PVC02",
        "one pod",
        (
            _RWO,
            ("minReplicas: 2", "minReplicas: 0"),
            ("maxReplicas: 6", "maxReplicas: 1"),
            ("minAvailable: 1", "maxUnavailable: 1"),
        ),
    ),
    Case("GPU02", "everything is tolerated", (("key: nvidia.com/gpu, operator", "operator"),)),
    Case(
        "DEP02",
        "pods stop one after the other",
        (("maxSurge: 1, maxUnavailable: 0", "maxSurge: 0, maxUnavailable: 1"),),
    ),
    Case(
        "SEC01",
        "another standard",
        (
            ("enforce: restricted", "enforce: privileged"),
            (_TIDY_POD, "          restartPolicy: Never\n"),
        ),
    ),
    Case(
        "SEC04",
        "the one that may be added",
        ((_TIDY, _TIDY.replace("drop: [ALL]", "drop: [ALL], add: [NET_BIND_SERVICE]")),),
    ),
)
"""In none of them is anything found."""
