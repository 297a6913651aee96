# The image of facemill, for x86_64 and aarch64: docker build . (or `make image`; docs/image.md).
#
# Works with Docker, podman and buildah 1.28: no feature of one builder alone. It is built for the machine that builds it;
# for another one, build under emulation (--platform). Every base can be pinned by digest: --build-arg
# RUST_IMAGE=rust:1.95-bookworm@sha256:...
ARG RUST_IMAGE=rust:1.95-bookworm
ARG DEBIAN_IMAGE=debian:bookworm-slim

# What the image runs on: Debian's C and C++ libraries and certificates, without a shell or a package manager.
FROM ${DEBIAN_IMAGE} AS system
COPY scripts/image-root.sh /src/scripts/
# data: where `facemill local` writes unless it is told otherwise. In a folder of its own, since an owner is given to what
# is in a folder that is copied, not to the folder.
RUN /src/scripts/image-root.sh /root-of-image && mkdir -p /of-user/data

FROM ${RUST_IMAGE} AS tools
# Versions of the distribution that the base is: a pinned one is gone from the mirrors after the next update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake g++ make nasm perl python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src

# ONNX Runtime and the model, each with the sum of assets/SHA256SUMS.
FROM tools AS assets
COPY assets assets
COPY scripts/need.sh scripts/fetch-assets.sh scripts/extract.py scripts/
COPY scripts/pip-stub scripts/pip-stub
RUN scripts/fetch-assets.sh

FROM tools AS build
# release, or bench: the same without link-time optimisation, built in half the time.
ARG PROFILE=release
# First the dependencies, which change seldom: a program that does nothing, in the place of ours.
COPY Cargo.toml Cargo.lock ./
COPY integration-tests/Cargo.toml integration-tests/
RUN mkdir -p src benches integration-tests/src/bin \
    && for file in src/main.rs integration-tests/src/bin/demo-server.rs benches/kernels.rs benches/pictures.rs benches/runner.rs; do \
        echo 'fn main() {}' >"$file"; done \
    && touch src/lib.rs integration-tests/src/lib.rs \
    && cargo build --locked --profile "$PROFILE" --package facemill --bin facemill \
    && cargo clean --locked --profile "$PROFILE" --package facemill
COPY config config
COPY schemas schemas
COPY topics topics
COPY src src
# The target folder may be mounted from elsewhere: what is to stay is put where it stays.
RUN cargo build --locked --profile "$PROFILE" --package facemill --bin facemill \
    && install -D "${CARGO_TARGET_DIR:-target}/release/facemill" /out/facemill

# The list of everything inside, and the licences of it.
FROM build AS papers
COPY LICENSE-APACHE LICENSE-MIT ./
COPY scripts/need.sh scripts/sbom.sh scripts/sbom.py scripts/
COPY --from=assets /src/assets assets
COPY --from=assets /root/.cache/facemill/pip /root/.cache/facemill/pip
COPY --from=system /root-of-image/var/lib/dpkg/status.d /packages
RUN scripts/sbom.sh --packages /packages /out/doc

FROM scratch AS image
COPY --from=system /root-of-image /
COPY --from=system --chown=65532:65532 /of-user /
COPY --from=papers /out/doc /usr/share/doc/facemill
COPY --from=assets /src/assets/downloads/face_detection_yunet_2023mar.onnx /usr/share/facemill/
COPY --from=assets /src/assets/downloads/libonnxruntime.so /usr/lib/facemill/
COPY --from=build /out/facemill /usr/local/bin/
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /data
# SSL_CERT_FILE: where the libraries inside the program look for certificates, which were built for no system.
ENV PATH=/usr/local/bin \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    FACEMILL__DETECT__MODEL=/usr/share/facemill/face_detection_yunet_2023mar.onnx \
    FACEMILL__DETECT__RUNTIME_LIBRARY=/usr/lib/facemill/libonnxruntime.so
EXPOSE 9464
ENTRYPOINT ["facemill"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="facemill" \
    org.opencontainers.image.description="Image URLs in, stored face detections out: a Kafka-native pipeline in Rust" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

# With CUDA, for detect on NVIDIA GPUs: --target facemill-cuda. It never met one (docs/image.md).
FROM tools AS cuda
COPY scripts/need.sh scripts/image-cuda.sh scripts/image-cuda.txt scripts/
RUN scripts/image-cuda.sh /out

# cuDNN loads zlib.
FROM system AS system-cuda
RUN /src/scripts/image-root.sh /root-with-cuda zlib1g

FROM papers AS papers-cuda
COPY scripts/image-cuda.txt scripts/
COPY --from=system-cuda /root-with-cuda/var/lib/dpkg/status.d /packages
RUN scripts/sbom.sh --packages /packages --wheels scripts/image-cuda.txt /out/doc

FROM image AS facemill-cuda
COPY --from=system-cuda /root-with-cuda /
COPY --from=papers-cuda /out/doc/sbom.cdx.json /usr/share/doc/facemill/
COPY --from=cuda /out/licenses /usr/share/doc/facemill/licenses
COPY --from=cuda /out/lib /usr/lib/facemill-cuda
# NVIDIA_*: what NVIDIA's container toolkit is to bring into the container; which GPUs, whoever starts it decides.
ENV FACEMILL__DETECT__DEVICE=cuda \
    FACEMILL__DETECT__RUNTIME_LIBRARY=/usr/lib/facemill-cuda/libonnxruntime.so \
    LD_LIBRARY_PATH=/usr/lib/facemill-cuda \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# Without a --target it is this one.
FROM image AS facemill
