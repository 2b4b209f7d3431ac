"""Parts of the sound manifests that mistakes are put into, and the form of a mistake."""

from __future__ import annotations

from dataclasses import dataclass

Change = tuple[str, str]

HPA = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: front, namespace: shop}
"""
SECOND_HPA = """\
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
METRIC = "      resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}\n"
REQUESTS = "          resources: {requests: {cpu: 10m}}\n"
WEB_LIMITS = "            limits: {cpu: 1500m, memory: 256Mi}\n"
STARTUP = (
    "          startupProbe: "
    "{httpGet: {path: /livez, port: api}, periodSeconds: 1, failureThreshold: 90}\n"
)
DNS = "    - ports:\n        - {protocol: UDP, port: 53}\n"
CLAIM = "  accessModes: [ReadWriteMany]\n  storageClassName: nfs\n"
RWO = (CLAIM, "  accessModes: [ReadWriteOnce]\n")
PROBE = "          readinessProbe: {httpGet: {path: /ready, port: http}}\n"
TIDY_POD = """\
          restartPolicy: OnFailure
          securityContext:
            {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
"""
TIDY = (
    "              image: busybox:1.36\n              securityContext: "
    "{allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n"
)
MOUNT = "            - {name: shelf, mountPath: /shelf}\n"
EXTRA = "---\napiVersion: v1\nkind: LimitRange\nmetadata: {name: usual, namespace: shop}\nspec:\n"


@dataclass(frozen=True)
class Case:
    """A change of the sound manifests. `line` is some text of the line that is named."""

    code: str
    name: str
    changes: tuple[Change, ...]
    severity: str = "error"
    line: str = ""
