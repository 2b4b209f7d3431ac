#!/usr/bin/env bash
# Build the images of all services, and load them into a cluster or push them.
#
#   ./build_docker.sh                        web, preprocess, inference and tools, for this machine
#   ./build_docker.sh web                    one of them
#   ./build_docker.sh batch stream           jobs and consumers of streams, which need no services
#   ./build_docker.sh gpu                    inference for nodes with an NVIDIA GPU; some gigabytes
#   ./build_docker.sh load                   locust, for compose's profile "load"
#   ./build_docker.sh --load minikube        ... and load them into a cluster on this machine
#   ./build_docker.sh --push REPO --tag v1   ... and push them as REPO/web:v1 and so on
#   ./build_docker.sh --platform linux/arm64
#   ./build_docker.sh -- --network host      arguments after -- go to docker build
#
# BASE_IMAGE sets their base image (default: python:3.11-slim-bookworm).
set -euo pipefail
cd "$(dirname "$0")"

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; }
fail() { echo "build_docker.sh: $1" >&2; exit 2; }

tag=latest
push=''
cluster=''
images=()
options=()
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage; exit ;;
    --tag) tag=${2:?--tag needs a value}; shift 2 ;;
    --push) push=${2:?--push needs a repository}; shift 2 ;;
    --platform) options+=(--platform "${2:?--platform needs a value}"); shift 2 ;;
    --load) cluster=${2:?--load needs minikube, microk8s, kind or k3s}; shift 2 ;;
    --) shift; options+=("$@"); break ;;
    web | preprocess | inference | tools | batch | stream | gpu | load) images+=("$1"); shift ;;
    *) fail "unknown argument: $1; see --help" ;;
  esac
done
[[ ${#images[@]} -gt 0 ]] || images=(web preprocess inference tools)
[[ $cluster =~ ^(minikube|microk8s|kind|k3s|)$ ]] || fail "--load supports minikube, microk8s, kind and k3s"
[[ -z ${BASE_IMAGE:-} ]] || options+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")

dockerfile() {
  case $1 in
    tools) echo elastic_yolo/Dockerfile ;;
    gpu) echo services/inference/Dockerfile.gpu ;;
    load) echo loadtest/Dockerfile ;;
    batch) echo elastic_yolo/Dockerfile.batch ;;
    stream) echo elastic_yolo/Dockerfile.stream ;;
    *) echo "services/$1/Dockerfile" ;;
  esac
}

# A local cluster has its own image store, separate from Docker's.
load() {
  case $cluster in
    minikube) minikube image load "$1" ;;
    kind) kind load docker-image "$1" ;;
    microk8s) docker save "$1" | microk8s ctr image import - ;;
    k3s) docker save "$1" | sudo k3s ctr images import - ;;
  esac
}

for image in "${images[@]}"; do
  name=elastic-yolo/$image
  [[ $image != gpu ]] || name=elastic-yolo/inference-gpu
  echo "== $name:$tag"
  docker build -f "$(dockerfile "$image")" -t "$name:$tag" "${options[@]}" .
  if [[ -n $push ]]; then
    docker tag "$name:$tag" "$push/${name#elastic-yolo/}:$tag"
    docker push "$push/${name#elastic-yolo/}:$tag"
  fi
  [[ -z $cluster ]] || load "$name:$tag"
done
