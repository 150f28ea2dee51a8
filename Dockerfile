# A build environment: what `.ci/setup` installs, and nothing of ours. It never builds a component.
#
# BASE must be an image with Debian 12, Rust by rustup and Python 3.11 in which any user may write to cargo's home,
# given by digest (`name@sha256:…`). It has no default, because nobody has checked one yet:
#
#     docker build --build-arg BASE=… -t eryx-build-env .
#     docker run --rm -it -v "$PWD:/work" -v eryx-cache:/cache eryx-build-env just bundle numpy pydantic
ARG BASE
FROM ${BASE}

# Only what decides which tools are installed, so that other changes of the checkout keep this layer.
COPY rust-toolchain.toml justfile /opt/eryx-setup/
COPY .ci/setup /opt/eryx-setup/.ci/setup
RUN sh /opt/eryx-setup/.ci/setup

RUN useradd --create-home --uid 1000 builder && install -d -o builder -g builder /cache /work
USER builder
ENV ERYX_CACHE=/cache
WORKDIR /work
CMD ["just"]
