"""One mistake or more for every rule about manifests, put into the sound ones."""

from __future__ import annotations

from tests.doctor.parts import (
    DNS,
    HPA,
    MOUNT,
    PROBE,
    REQUESTS,
    RWO,
    SECOND_HPA,
    STARTUP,
    TIDY,
    TIDY_POD,
    WEB_LIMITS,
    Case,
)

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
                (
                    "kind: Namespace\nmetadata: {name: shop}\n"
                    "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: front"
                ),
            ),
        ),
        "warning",
        "apiVersion: v1",
    ),
    Case("YAML05", "a bare number", (('"60"', "60"),), line="MODEL_WAIT_S"),
    Case("YAML05", "a bare yes", (('colour: "blue"', "colour: yes"),), line="colour: yes"),
    Case("YAML05", "a label", (("  labels: {pod-", "  labels: {version: 1, pod-"),)),
    Case("API01", "v2beta2", ((HPA, HPA.replace("/v2", "/v2beta2")),), line="v2beta2"),
    Case("HPA01", "a sidecar without", ((REQUESTS, ""),), line="name: log-shipper"),
    Case(
        "HPA01",
        "limits on memory alone",
        ((REQUESTS, "          resources: {limits: {memory: 1Gi}}\n"),),
    ),
    Case(
        "HPA02",
        "a name",
        (
            ("kind: Deployment, name: front}", "kind: Deployment, name: frond}"),
            ("minAvailable: 1", "maxUnavailable: 1"),
        ),
    ),
    Case(
        "HPA02",
        "of a ScaledObject",
        (("scaleTargetRef: {name: back}", "scaleTargetRef: {name: b}"),),
    ),
    Case("HPA03", "a second", ((HPA, SECOND_HPA % "front" + HPA),)),
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
    Case("HPA07", "both", ((HPA, SECOND_HPA % "back" + HPA),)),
    Case("HPA09", "fixed", (("maxReplicas: 6", "maxReplicas: 2"),), "warning", "maxReplicas: 2"),
    Case("SVC01", "a label", (("  selector: {app: front}\n", "  selector: {app: fronts}\n"),)),
    Case("SVC02", "a name", (("targetPort: http", "targetPort: https"),), line="targetPort: https"),
    Case("SVC02", "a number", (("targetPort: http", "targetPort: 8081"),)),
    Case("SVC02", "a number as text", (("targetPort: http", 'targetPort: "8080"'),)),
    Case("SVC03", "no probe", ((PROBE, ""),), "warning"),
    Case("DEP01", "a label", (("values: [back]", "values: [beck]"),)),
    Case(
        "DEP01",
        "no selector",
        (("  selector: {matchLabels: {app: front}}\n  strategy", "  strategy"),),
    ),
    Case("PRB01", "an unknown name", ((PROBE, PROBE.replace("port: http", "port: web")),)),
    Case("PRB01", "a number", (("/alive, port: 8080", "/alive, port: 8081"),), "warning", "/alive"),
    Case(
        "PRB02",
        "impatient",
        ((STARTUP, ""), ('"60"', '"1"')),
        "warning",
        "livenessProbe: {httpGet: {path: /livez",
    ),
    Case("PRB03", "a short one", (("failureThreshold: 90", "failureThreshold: 50"),)),
    Case(
        "ING01",
        "a name",
        (("{name: front, port: {number: 80}}", "{name: frond, port: {number: 80}}"),),
    ),
    Case("ING01", "the container's port", (("{number: 80}", "{number: 8080}"),)),
    Case("ING01", "a port's name", (("{number: 80}", "{name: http}"),)),
    Case("URL01", "no such Service", (("http://back:9000", "http://beck:9000"),), "warning"),
    Case(
        "URL01",
        "no such port of the pods, whose addresses DNS says",
        (
            ("http://back:9000", "http://back:9999"),
            ("  selector: {app: back}\n", "  clusterIP: None\n  selector: {app: back}\n"),
        ),
    ),
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
    Case("NET03", "no names", ((DNS, ""),)),
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
    Case("VOL02", "a mount", ((MOUNT, MOUNT.replace("name: shelf", "name: shelve")),)),
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
    Case("PVC02", "up to six", (RWO,), "warning", "accessModes"),
    Case("RES01", "memory", ((WEB_LIMITS, WEB_LIMITS.replace("256Mi", "100M")),), line="100M"),
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
    Case("SEC01", "root", ((TIDY_POD, TIDY_POD.replace("runAsUser: 1000", "runAsUser: 0")),)),
    Case("SEC01", "perhaps", ((TIDY_POD, TIDY_POD.replace("runAsNonRoot: true, ", "")),)),
    Case("SEC02", "none", ((TIDY_POD, TIDY_POD.replace("RuntimeDefault", "Unconfined")),)),
    Case("SEC03", "escalation", ((TIDY, TIDY.replace("allowPrivilegeEscalation: false, ", "")),)),
    Case("SEC04", "kept", ((TIDY, TIDY.replace(", capabilities: {drop: [ALL]}", "")),)),
    Case("SEC04", "added", ((TIDY, TIDY.replace("drop: [ALL]", "drop: [ALL], add: [NET_ADMIN]")),)),
    Case(
        "SEC05",
        "a path of the node",
        (("configMap: {name: front}", "hostPath: {path: /etc}"),),
    ),
)
"""In each, exactly its code is found."""
