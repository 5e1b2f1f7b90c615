# The controller and the command line in one image: a read-only file system, no root, nothing that installs.
#
#   docker build --tag registry.example.com/image-updater:0.1.0 .
#   docker build --build-arg HELM_VERSION=v4.3.1 …      with helm too, for kustomizations that have helmCharts
#
# The base images are named by tag, so that a build gets their fixes. For builds that repeat, give them by digest:
# --build-arg PYTHON=python:3.11-slim-bookworm@sha256:…
ARG PYTHON=python:3.11-slim-bookworm
ARG GO=golang:1.26-bookworm

# --- kustomize, at the version that the tests run (.ci/tools.sh) --------------------------------------------------------
FROM ${GO} AS programs
ARG KUSTOMIZE_VERSION=v5.8.2
ARG HELM_VERSION=
ENV CGO_ENABLED=0 GOBIN=/programs GOTOOLCHAIN=local
RUN go install -trimpath \
      -ldflags "-s -X sigs.k8s.io/kustomize/api/provenance.version=${KUSTOMIZE_VERSION}" \
      "sigs.k8s.io/kustomize/kustomize/v5@${KUSTOMIZE_VERSION}" \
    && if [ -n "${HELM_VERSION}" ]; then \
      go install -trimpath -ldflags "-s" "helm.sh/helm/${HELM_VERSION%%.*}/cmd/helm@${HELM_VERSION}"; \
    fi

# --- the package and what it needs, compiled ----------------------------------------------------------------------------
FROM ${PYTHON} AS package
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY image_updater ./image_updater
# The file system is read-only at run time, so bytecode is made here; it is not checked against its source again.
RUN pip wheel --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/image-updater \
    && pip --python /opt/image-updater/bin/python install --no-compile --only-binary :all: \
      "image-updater[keyless,openpgp] @ file://$(ls /wheels/*.whl)" \
    && /opt/image-updater/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/image-updater/lib

# --- what runs ----------------------------------------------------------------------------------------------------------
FROM ${PYTHON}
LABEL org.opencontainers.image.title="image-updater" \
      org.opencontainers.image.description="Image automation that writes back to Git: byte-exact, proved, explained." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=programs /programs/ /usr/local/bin/
COPY --from=package /opt/image-updater /opt/image-updater
# /tmp is the only folder that must be writable (an emptyDir); --cache and --state name another for what is kept.
ENV PATH=/opt/image-updater/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
WORKDIR /tmp
STOPSIGNAL SIGTERM
ENTRYPOINT ["image-updater"]
CMD ["controller"]
