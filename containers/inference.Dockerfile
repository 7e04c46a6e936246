# Every inference service: docker build -f containers/inference.Dockerfile --build-arg SERVICE=n2v .
# DEVICE=gpu brings ONNX Runtime for CUDA with CUDA and cuDNN as wheels; the driver is the host's.

# Packages are put together in a stage of their own; pip and its cache stay there.
FROM python:3.11-slim-bookworm AS packages
ARG DEVICE=cpu
RUN apt-get update -q \
    && apt-get install -yq --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv --without-pip /opt/venv
COPY containers/requirements/inference-${DEVICE}.lock /tmp/requirements.lock
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
COPY containers/images.toml containers/healthcheck.py /app/containers/
# Bytecode of what is imported at the start, and of nothing else.
RUN python -m compileall -q --invalidation-mode unchecked-hash /app \
    && PYTHONPATH=/app /opt/venv/bin/python -c "import services.n2v.service, \
        micserve.serving.app, \
        micserve.registry.mlflow, \
        stardist.nms, \
        stardist.geometry, \
        stardist.matching, \
        skimage.measure, \
        skimage.segmentation, \
        matplotlib.figure"

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
    NUMBA_CACHE_DIR=/tmp/numba \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_DO_NOT_TRACK=true \
    MICSERVE_SERVICE_HOST=0.0.0.0
WORKDIR /app
USER 10001:10001
VOLUME /var/lib/micserve
# What differs between the five comes last, so that they share all layers.
ARG SERVICE=n2v
ENV MICSERVE_IMAGE=${SERVICE}
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="micserve-${SERVICE}" \
    org.opencontainers.image.description="micserve inference service: ${SERVICE}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="BSD-3-Clause"
EXPOSE 8011 8012 8013 8014 8015
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "/app/containers/healthcheck.py"]
# BentoML ends on SIGTERM when the predictions that run are done.
STOPSIGNAL SIGTERM
CMD ["sh", "-c", "exec python -m services.local serve $MICSERVE_IMAGE"]
