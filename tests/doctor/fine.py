"""What looks like a mistake, and is none."""

from __future__ import annotations

from tests.doctor.parts import (
    DNS,
    EXTRA,
    METRIC,
    PROBE,
    REQUESTS,
    RWO,
    TIDY,
    TIDY_POD,
    Case,
)

FINE = (
    Case(
        "HPA01",
        "the limit is the request where only that is stated",
        ((REQUESTS, "          resources: {limits: {cpu: 100m}}\n"),),
    ),
    Case(
        "HPA01",
        "a default of the namespace",
        (
            (REQUESTS, ""),
            (
                "---\napiVersion: v1\nkind: ConfigMap",
                EXTRA
                + "  limits: [{type: Container, defaultRequest: {cpu: 50m}}]\n---\napiVersion: v1\n"
                "kind: ConfigMap",
            ),
        ),
    ),
    Case(
        "HPA01",
        "one container is asked alone",
        (
            (REQUESTS, ""),
            (
                "    - type: Resource\n" + METRIC,
                (
                    "    - type: ContainerResource\n      containerResource: {name: cpu, "
                    "container: front, target: {type: Utilization, averageUtilization: 70}}\n"
                ),
            ),
        ),
    ),
    Case(
        "HPA01",
        "an absolute target needs no request",
        (
            (REQUESTS, ""),
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
            (PROBE, PROBE.replace("http}", "8080}")),
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
                "  egress:\n    - to:\n        - podSelector: {matchLabels: {app: back}}\n"
                "      ports:\n        - {protocol: TCP, port: 9090}\n" + DNS,
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
                DNS,
                (
                    "    - to:\n        - namespaceSelector: "
                    "{matchLabels: {kubernetes.io/metadata.name: kube-system}}\n      ports:\n"
                    "        - {protocol: UDP, port: 53}\n"
                ),
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
    Case(
        "IMG03",
        "a registry that is meant without one",
        (
            ("registry.example/shop/log-shipper", "shop/log-shipper"),
            ("registry.example/shop/front", "docker.io/shop/front"),
        ),
    ),
    Case(
        "VOL01",
        "what is in every namespace",
        (("configMap: {name: front}", "configMap: {name: kube-root-ca.crt}"),),
    ),
    Case(
        "VOL01",
        "a secret that a certificate leads to",
        (
            ("configMap: {name: front}", "secret: {secretName: front-tls}"),
            (
                "---\napiVersion: v1\nkind: ConfigMap",
                (
                    "---\napiVersion: cert-manager.io/v1\nkind: Certificate\n"
                    "metadata: {name: front, namespace: shop}\nspec: {secretName: front-tls}\n"
                    "---\napiVersion: v1\nkind: ConfigMap"
                ),
            ),
        ),
    ),
    Case("PVC01", "a volume by name", (("storageClassName: nfs", "volumeName: made-by-hand"),)),
    Case(
        "PVC02",
        "one pod",
        (
            RWO,
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
            (TIDY_POD, "          restartPolicy: Never\n"),
        ),
    ),
    Case(
        "SEC04",
        "the one that may be added",
        ((TIDY, TIDY.replace("drop: [ALL]", "drop: [ALL], add: [NET_BIND_SERVICE]")),),
    ),
)
"""In none of them is anything found."""
