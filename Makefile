# Everything runs from .venv, which holds exactly what locks/dev.txt says.
PYTHON ?= python3
BIN := .venv/bin
FUZZ_SECONDS ?= 60
INFERENCE ?= 1
MINUTES ?= 10
MODEL ?= models/demo
OVERLAY ?= minikube
PORT ?= 5000
.DEFAULT_GOAL := help

.PHONY: help setup demo up test test-all test-labs fuzz registries brokers clients oip-servers etcd k8s-tools monitoring-tools load-tools ray bench bench-pipeline bench-batch bench-explain soak lint format docs proto oracle model-table browser screenshots http-clients cameras issuer images e2e cluster-test clean

# Makes the environment of a target FOLDER/ready from its lock, the first prerequisite; $(1) is for pip.
define environment
@$(PYTHON) -m venv --clear $(@D)
@$(@D)/bin/pip install --quiet --quiet --disable-pip-version-check --require-hashes $(1) -r $<
endef

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## create .venv from the lock

.venv/ready: locks/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "needs Python 3.11 or newer")'
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "needs python3-venv" >&2; exit 1; }
	@echo "setting up .venv (once, about a minute) ..."
	$(call environment)
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation --editable .
	@touch $@

demo: .venv/ready ## serve the embedded model, send every sample picture, stop; MODEL=yolov3-tiny for the real one on photographs
	@$(BIN)/python -m tools.demo "$(MODEL)"

up: .venv/ready ## run the services until Ctrl-C; MODEL=yolov3-tiny, a folder or store:..., INFERENCE=3 processes, PORT=5001
	@$(BIN)/elastic-yolo serve "$(MODEL)" --inference $(INFERENCE) --port $(PORT) --live-load

test: .venv/ready ## run the fast tests: no container engine, no cluster
	@$(BIN)/python -m pytest

test-all: test test-labs ## run the fast tests, the labs, then the long tests; still no container engine, no cluster
	@$(BIN)/python -m pytest -m "long and not e2e"

test-labs: .venv/ready load-tools monitoring-tools k8s-tools ## run every command of docs/labs and compare its output with the page; LAB=04
	@$(BIN)/python -m pytest -n 0 -p no:randomly -rs -m labs tests/labs $(if $(LAB),-k "$(LAB)")

images: ## build the container images; BUILD_FLAGS go to docker build
	@./build_docker.sh web preprocess inference tools batch stream load -- $(BUILD_FLAGS)

e2e: .venv/ready images .venv-monitoring/prometheus ## run the containers together, scale them, kill one container; needs a container engine
	@$(BIN)/python -m pytest -n 0 -p no:randomly -m e2e tests/e2e

cluster-test: .venv/ready ## deploy to the cluster that kubectl is set up for, and test it; OVERLAY=minikube
	@CLUSTER_TEST=1 OVERLAY=$(OVERLAY) $(BIN)/python -m pytest -n 0 -p no:randomly -rs tests/cluster

fuzz: .venv-fuzz/ready ## fuzz the parsers of untrusted files, FUZZ_SECONDS=60 for each target
	@.venv-fuzz/bin/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

.venv-fuzz/ready: locks/fuzz.txt
	$(call environment,--only-binary :all:)
	@touch $@

registries: .venv-registries/ready .venv-registries/docker-registry ## install the servers that tests fetch models from

.venv-registries/ready: locks/registries.txt
	@echo "setting up .venv-registries (once, about a minute, 1.1 GB) ..."
	$(call environment,--only-binary :all:)
	@touch $@

.venv-registries/docker-registry: .venv-registries/ready
	@tools/apt-unpack $@ docker-registry usr/bin/docker-registry

brokers: .venv-brokers/ready ## install Redis, Mosquitto and a broker that speaks Kafka's protocol, for tests of streams
	@tools/apt-install /usr/bin/redis-server redis-server
	@tools/apt-install /usr/sbin/mosquitto mosquitto

.venv-brokers/ready: locks/brokers.txt
	$(call environment,--only-binary :all:)
	@touch $@

issuer: .venv-issuer/ready ## install an OpenID Connect provider of npm, for tests of tokens

.venv-issuer/ready: tests/support/issuer/package-lock.json
	@tools/apt-install /usr/bin/npm npm
	@rm -rf .venv-issuer && mkdir .venv-issuer
	@cp tests/support/issuer/package.json tests/support/issuer/package-lock.json .venv-issuer
	@npm ci --silent --no-fund --no-audit --prefix .venv-issuer
	@touch $@

oip-servers: .venv-oip-server/ready ## install MLServer, which tests route to

.venv-oip-server/ready: locks/oip-servers.txt
	@echo "setting up .venv-oip-server (once, a minute, 0.6 GB) ..."
	$(call environment,)
	@touch $@

etcd: .venv-etcd/etcd .venv-etcd/etcdctl ## unpack Debian's etcd, for tests of tables of routes

.venv-etcd/etcd:
	@mkdir -p .venv-etcd
	@tools/apt-unpack $@ etcd-server usr/bin/etcd

.venv-etcd/etcdctl:
	@mkdir -p .venv-etcd
	@tools/apt-unpack $@ etcd-client usr/bin/etcdctl

clients: .venv-clients/ready ## install clients of the Open Inference Protocol by others, which tests run

.venv-clients/ready: locks/clients.txt
	@echo "setting up .venv-clients (once, half a minute, 0.4 GB) ..."
	$(call environment,--only-binary :all:)
	@touch $@

k8s-tools: .venv-k8s/ready ## install the checkers of the Kubernetes manifests

.venv-k8s/ready: locks/k8s.txt locks/kubectl.txt
	@echo "setting up .venv-k8s (once, half a minute, 0.5 GB) ..."
	$(call environment,)
	@tools/get-kubectl .venv-k8s
	@touch $@

monitoring-tools: .venv-monitoring/prometheus .venv-monitoring/promtool ## unpack Debian's Prometheus, for tests of alerts and dashboard

.venv-monitoring/%:
	@mkdir -p .venv-monitoring
	@tools/apt-unpack $@ prometheus usr/bin/$*

load-tools: .venv-load/ready ## install locust for load tests, and matplotlib for its report

.venv-load/ready: locks/load.txt
	@echo "setting up .venv-load (once, half a minute, 0.3 GB) ..."
	$(call environment,--only-binary :all:)
	@touch $@

ray: .venv-ray/ready ## install Ray, for batch --engine ray and its tests

.venv-ray/ready: locks/ray.txt
	@echo "setting up .venv-ray (once, about a minute, 1.1 GB) ..."
	$(call environment,--only-binary :all:)
	@.venv-ray/bin/python -c 'import os, site; print(os.getcwd(), file=open(site.getsitepackages()[0] + "/checkout.pth", "w"))'
	@touch $@

bench: .venv/ready ## measure engines, precisions and start-up: tables, and bench.json
	@$(BIN)/python -m bench

bench-pipeline: .venv/ready ## measure the whole pipeline, alone, under load and overload, compared with other serving frameworks
	@$(BIN)/python -m bench.pipeline

bench-batch: .venv/ready ## compare `elastic-yolo batch` with the bare loops of its engine; BENCH_FLAGS=--help
	@$(BIN)/python -m bench.batch $(BENCH_FLAGS)

bench-explain: .venv/ready ## check saliency maps by deletion and insertion, and measure their cost; BENCH_FLAGS=--help
	@$(BIN)/python -m bench.explain $(BENCH_FLAGS)

soak: .venv/ready ## send the services mixed requests, valid, broken, slow and aborted, and cause faults; MINUTES=10 SOAK_FLAGS=--help
	@$(BIN)/python -m bench.soak --minutes $(MINUTES) $(SOAK_FLAGS)

lint: .venv/ready ## formatter check, linter, type checker, import contracts, dependencies, spelling
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry --no-ansi .
	$(BIN)/codespell

format: .venv/ready ## format the code and fix what the linter can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: .venv/ready ## regenerate the generated parts of documents: READMEs' tables, the zoo, Kubernetes' copy of the rules
	@$(BIN)/python -m tools.settings_table
	@$(BIN)/python -m tools.kubernetes_rules
	@$(BIN)/python -m tools.zoo_table

proto: .venv/ready ## regenerate the Python module of inference's gRPC messages from its .proto file
	@$(BIN)/python -m tools.proto

oracle: ## install Debian's darknet, which some tests compare with
	@tools/apt-install /usr/lib/darknet/libdarknet.so darknet

model-table: .venv/ready ## compare every network with Darknet or OpenCV, for docs/models.md
	@$(BIN)/python -m bench.oracle.table --update docs/models.md

browser: .venv-axe/ready ## install Debian's Chromium, in which the pages are tested, and npm's axe-core
	@tools/apt-install /usr/bin/chromedriver chromium chromium-driver

.venv-axe/ready: tests/support/axe/package-lock.json
	@tools/apt-install /usr/bin/npm npm
	@rm -rf .venv-axe && mkdir .venv-axe
	@cp tests/support/axe/package.json tests/support/axe/package-lock.json .venv-axe
	@npm ci --silent --no-fund --no-audit --prefix .venv-axe
	@touch $@

screenshots: .venv/ready ## take the pictures of the web pages that the docs show
	@$(BIN)/python -m tools.screenshots
	@$(BIN)/python -m tools.live_screenshots

http-clients: ## install Debian's Java and curl, whose HTTP clients offer HTTP/2
	@tools/apt-install /usr/bin/java openjdk-17-jdk-headless
	@tools/apt-install /usr/bin/curl curl

cameras: ## install Debian's GStreamer with its RTSP server, which plays a camera in tests
	@tools/apt-install /usr/lib/$$(uname -m)-linux-gnu/girepository-1.0/GstRtspServer-1.0.typelib \
		gir1.2-gst-rtsp-server-1.0 python3-gi

clean: ## remove what make created
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	rm -rf .venv .venv-fuzz .venv-registries .venv-brokers .venv-clients .venv-oip-server .venv-etcd .venv-k8s .venv-monitoring .venv-load .venv-ray .venv-issuer .venv-axe load-report demo-output
