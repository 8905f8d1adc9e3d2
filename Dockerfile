# syntax=docker/dockerfile:1
# A static binary in an image without shell or package manager, run by an ordinary user (65532). compose/ uses it.
#   docker build -t binferry .

FROM rust:1.95-slim-bookworm AS build
# perl and make build OpenSSL, make and the C compiler librdkafka and zstd: see docs/decisions/kafka-log.md.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends make musl-tools perl \
 && rm -rf /var/lib/apt/lists/* \
 && rustup target add "$(uname -m)-unknown-linux-musl"
WORKDIR /build
COPY . .
# The context has no repository: `--build-arg BINFERRY_COMMIT=$(git rev-parse --short=12 HEAD)` has `binferry --version` say it.
ARG BINFERRY_COMMIT
# librdkafka's configure knows only CC. Symbols stay, for backtraces; line tables would be more than half of the image.
ENV CC=musl-gcc CARGO_PROFILE_RELEASE_STRIP=debuginfo
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --package binferry --target "$(uname -m)-unknown-linux-musl" \
 && cp "target/$(uname -m)-unknown-linux-musl/release/binferry" /binferry

FROM gcr.io/distroless/static-debian12:nonroot
# For TLS to a broker whose certificate a public authority signed: the OpenSSL inside the binary has no place of its own to look.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
COPY --from=build /binferry /usr/local/bin/binferry
ENTRYPOINT ["/usr/local/bin/binferry"]
CMD ["--help"]
