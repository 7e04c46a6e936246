# The one door: docker build -f containers/gateway.Dockerfile .

# Packages are put together in a stage of their own; pip and its cache stay there.
FROM python:3.11-slim-bookworm AS packages
ARG DEVICE=cpu
RUN apt-get update -q \
    && apt-get install -yq --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv --without-pip /opt/venv
COPY containers/requirements/gateway-${DEVICE}.lock /tmp/requirements.lock
# Files that the index does not have, or a machine without a network, are looked for in wheels/.
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=containers/wheels,target=/wheels \
    pip --python /opt/venv/bin/python install --disable-pip-version-check --require-hashes \
        --only-binary :all: --no-compile --find-links /wheels --requirement /tmp/requirements.lock \
    && find /opt/venv -type d -path '*/site-packages/*' \( -name tests -o -path '*/onnx/backend/test' \) \
        -prune -exec rm -rf {} + \
    && find /opt/venv -name '*.so' ! -path '*.libs/*' -exec strip --strip-unneeded {} +
COPY micserve /app/micserve
COPY services /app/services
COPY fiji /app/fiji
COPY containers/images.toml containers/healthcheck.py /app/containers/
# Bytecode of what is imported at the start, and of nothing else.
RUN python -m compileall -q --invalidation-mode unchecked-hash /app \
    && PYTHONPATH=/app /opt/venv/bin/python -c "import services.gateway.__main__, \
        micserve.registry.mlflow, \
        micserve.accounts, \
        micserve.cli"

FROM python:3.11-slim-bookworm
# 10001 owns one folder, MICSERVE_HOME; everything else is read-only for it, and may be for all.
RUN groupadd --gid 10001 micserve \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin \
        micserve \
    && install --directory --owner 10001 --group 10001 /var/lib/micserve
COPY --from=packages /opt/venv /opt/venv
COPY --from=packages /app /app
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    MLFLOW_DISABLE_TELEMETRY=true \
    MICSERVE_HOME=/var/lib/micserve \
    MICSERVE_GATEWAY_HOST=0.0.0.0 \
    MICSERVE_IMAGE=gateway
WORKDIR /app
USER 10001:10001
VOLUME /var/lib/micserve
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="micserve-gateway" \
    org.opencontainers.image.description="micserve gateway: the one address for Fiji, browsers and scripts" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="BSD-3-Clause"
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "/app/containers/healthcheck.py"]
# Images on their way are finished before it ends.
STOPSIGNAL SIGTERM
CMD ["python", "-m", "services.gateway"]
