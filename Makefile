# facemill: `make` shows what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test it check eval clean assets build bench doc docs faces corpus need first-build stack-up stack-down stack-status stack-jars demo-kafka bench-kafka bench-hostile fuzz helm-test kube-test image image-test image-check sbom

TARGET := $(or $(CARGO_TARGET_DIR),target)
FACES ?= ../shared/faces
FUZZ_SECONDS ?= 600
# With the features that the tests add to the dependencies (--examples asks for them; there are no examples):
# the demo, the tests and every day's work then share one build of them.
BUILD := cargo build --workspace --bins --examples

help: ## Show this
	@awk -F ' *## *' '/^[a-z-]+:.* ## / { sub(/:.*/, "", $$1); printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: first-build assets ## Find faces in real photographs, fetched over HTTP; needs nothing else
	@$(BUILD)
	@scripts/demo.sh

test: first-build assets ## Run every test
	@scripts/need.sh ip unshare
	@$(BUILD)
	@cargo test --workspace
	@scripts/test-fetch-assets.sh

it: stack-jars build assets ## Run the tests that need real servers: Kafka and Cassandra, from jars
	@scripts/it.sh

check: need ## Check style, lints, layers, licences, spelling
	@scripts/need.sh rustfmt clippy
	@scripts/check.sh

helm-test: ## Check the chart, the alert rules and the dashboard without a cluster (its tools take five minutes the first time)
	@scripts/need.sh python3
	@scripts/helm-test.sh

demo-kafka: stack-jars first-build assets ## The demo on a real Kafka and Cassandra, started here from their jars
	@$(BUILD)
	@scripts/demo-kafka.sh

stack-up: stack-jars build ## Start Kafka and Cassandra here, from jars (STACK_BROKERS=3: docs/stack.md)
	@FACEMILL="$(TARGET)/debug/facemill" scripts/stack.sh up

stack-down: ## Stop them (STACK_WIPE=1: and remove their data)
	@scripts/stack.sh down

stack-status: ## Say which of them is up
	@scripts/stack.sh status || [ $$? = 3 ]

eval: faces build assets ## Measure average precision on labelled faces (FACES=folder)
	@python3 scripts/eval.py "$(TARGET)/debug/facemill" "$(FACES)"

.PHONY: kube-test
kube-test: ## Run the chart on a real Kubernetes with played nodes (docs/kube.md; TESTS="upgrade hpa")
	@scripts/kube-test.sh $(TESTS)

fuzz: need ## Fuzz URLs, records and every decoder, each for FUZZ_SECONDS (600; needs a nightly compiler)
	@scripts/fuzz.sh "$(FUZZ_SECONDS)" $(FUZZ_TARGETS)

corpus: build assets ## Hold outcomes of any images against Pillow and OpenCV, and in two orders (CORPUS=folder)
	@python3 scripts/corpus.py "$(TARGET)/debug/facemill" "$(CORPUS)"

clean: ## Remove what was built and downloaded here
	@rm -rf assets/downloads
	@cargo clean

assets: need ## Fetch ONNX Runtime, the model and the photographs (33 MB)
	@scripts/fetch-assets.sh

build: first-build ## Build the program: target/debug/facemill
	@$(BUILD)

bench: assets ## Measure speed and memory (builds with optimisation)
	@benches/run.sh

bench-kafka: stack-jars assets ## Measure it on Kafka and Cassandra, started here
	@benches/cluster.sh

bench-hostile: assets ## Measure what hostile and slow servers cost the others
	@benches/hostile.sh

image: ## Build the container image with docker, podman or buildah (IMAGE=name; docs/image.md)
	@scripts/image.sh

image-test: need ## Build it here on stand-in bases with buildah, and start facemill from it (root, Debian; CUDA=1)
	@scripts/image-test.sh

image-check: ## Check Dockerfile and compose.yaml, without building
	@scripts/image-check.sh

sbom: assets ## Write what the program is made of: target/sbom/sbom.cdx.json and licenses/
	@scripts/sbom.sh "$(TARGET)/sbom"
	@scripts/sbom-check.sh "$(TARGET)/sbom/sbom.cdx.json"

doc: need ## Build the API's documentation: target/doc/facemill/index.html
	@cargo doc --workspace --no-deps

docs: need ## Write docs/metrics.md anew, from the code
	@FACEMILL_WRITE_DOCS=1 cargo test --quiet --lib telemetry::metrics

# The line that scripts/eval.py says, before anything is built.
faces:
	@if [ ! -e "$(FACES)/boxes.csv" ]; then \
		echo "eval: no boxes.csv in $(FACES); name a folder with boxes.csv and photos/: make eval FACES=FOLDER" >&2; exit 1; \
	fi

# Before the build, so that a missing Java is named at once.
stack-jars:
	@scripts/need.sh java
	@scripts/stack/fetch.sh kafka cassandra

need:
	@scripts/need.sh cc c++ cmake nasm make python3 cargo

first-build: need
	@if [ ! -e "$(TARGET)/debug/facemill" ]; then \
		echo "The first build takes about 4 minutes on 2 cores; later ones take seconds."; \
	fi
