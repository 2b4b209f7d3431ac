"""Manifests of a small application in which nothing is wrong, and what is put wrong in them."""

from __future__ import annotations

from elastic_yolo.doctor.finding import Finding
from elastic_yolo.doctor.given import ManifestSet
from elastic_yolo.doctor.manifests import read_text
from elastic_yolo.doctor.rules import diagnose

SOUND = """\
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels: {pod-security.kubernetes.io/enforce: restricted}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: front, namespace: shop}
data:
  BACK_URL: http://back:9000
  colour: "blue"
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: front, namespace: shop}
spec:
  selector: {matchLabels: {app: front}}
  strategy:
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  template:
    metadata:
      labels: {app: front}
    spec:
      terminationGracePeriodSeconds: 40
      securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: front
          image: registry.example/shop/front:v1
          envFrom:
            - configMapRef: {name: front}
          env:
            - {name: COLOUR, valueFrom: {configMapKeyRef: {name: front, key: colour}}}
            - {name: THREADS, value: "2"}
          ports:
            - {name: http, containerPort: 8080}
          lifecycle: {preStop: {exec: {command: [sh, -c, sleep 5]}}}
          readinessProbe: {httpGet: {path: /ready, port: http}}
          livenessProbe: {httpGet: {path: /alive, port: 8080}}
          resources:
            requests: {cpu: 500m, memory: 128Mi}
            limits: {cpu: 1500m, memory: 256Mi}
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
          volumeMounts:
            - {name: shelf, mountPath: /shelf}
            - {name: settings, mountPath: /settings}
        - name: log-shipper
          image: registry.example/shop/log-shipper:v3
          resources: {requests: {cpu: 10m}}
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
      volumes:
        - name: shelf
          persistentVolumeClaim: {claimName: shelf}
        - name: settings
          configMap: {name: front}
---
apiVersion: v1
kind: Service
metadata: {name: front, namespace: shop}
spec:
  selector: {app: front}
  ports:
    - {name: web, port: 80, targetPort: http}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: front, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: front}
  minReplicas: 2
  maxReplicas: 6
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: front, namespace: shop}
spec:
  minAvailable: 1
  selector: {matchLabels: {app: front}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: front, namespace: shop}
spec:
  rules:
    - http:
        paths:
          - path: /
            pathType: Prefix
            backend: {service: {name: front, port: {number: 80}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: shelf, namespace: shop}
spec:
  accessModes: [ReadWriteMany]
  storageClassName: nfs
  resources: {requests: {storage: 1Gi}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: back, namespace: shop}
spec:
  selector:
    matchExpressions:
      - {key: app, operator: In, values: [back]}
  template:
    metadata:
      labels: {app: back}
    spec:
      securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
      tolerations:
        - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
      containers:
        - name: back
          image: elastic-yolo/inference:v1
          env:
            - {name: MODEL_WAIT_S, value: "60"}
          ports:
            - {name: api, containerPort: 9090}
          startupProbe: {httpGet: {path: /livez, port: api}, periodSeconds: 1, failureThreshold: 90}
          readinessProbe: {httpGet: {path: /readyz, port: api}}
          livenessProbe: {httpGet: {path: /livez, port: api}, periodSeconds: 2}
          resources:
            requests: {cpu: "1", memory: 1Gi, nvidia.com/gpu: 1}
            limits: {cpu: "1", memory: 1Gi, nvidia.com/gpu: 1}
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: back, namespace: shop}
spec:
  selector: {app: back}
  ports:
    - {port: 9000, targetPort: 9090}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: back, namespace: shop}
spec:
  scaleTargetRef: {name: back}
  maxReplicaCount: 5
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: front, namespace: shop}
spec:
  podSelector: {matchLabels: {app: front}}
  policyTypes: [Egress]
  egress:
    - to:
        - podSelector: {matchLabels: {app: back}}
      ports:
        - {protocol: TCP, port: 9090}
    - ports:
        - {protocol: UDP, port: 53}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: back, namespace: shop}
spec:
  podSelector: {matchLabels: {app: back}}
  ingress:
    - from:
        - podSelector: {matchLabels: {app: front}}
      ports:
        - {port: api}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: tidy, namespace: shop}
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: OnFailure
          securityContext:
            {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
          containers:
            - name: tidy
              image: busybox:1.36
              securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"""


def change(*changes: tuple[str, str]) -> str:
    """Return the sound manifests with some words replaced, each of which stands there once."""
    text = SOUND
    for old, new in changes:
        assert text.count(old) == 1, f"{text.count(old)} times: {old}"
        text = text.replace(old, new)
    return text


def doctor(text: str, file: str = "shop.yaml") -> list[Finding]:
    """Return everything that is found in a text."""
    reading = read_text(text, file)
    return [*reading.findings, *diagnose(ManifestSet(reading.manifests))]
