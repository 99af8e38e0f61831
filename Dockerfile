# An image for users: `docker build -t pyg-diffusion .`, then `docker run --rm -v "$PWD:/data" pyg-diffusion sample /data/in.smi -o /data/out.sdf`.
# For an NVIDIA GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128, and `docker run --gpus all`.
# Packages from an index of your own: --secret id=pip,src=pip.conf. podman and buildah take the same (with --format docker, for the health check).
ARG PYTHON=3.11
FROM docker.io/library/python:${PYTHON}-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=serve,protonate
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /src
COPY constraints.txt .
# torch apart: by far the largest layer, and the one that changes least; 2.13.0+cpu comes before 2.13.0 of the package index
RUN --mount=type=secret,id=pip,target=/etc/pip.conf pip install -c constraints.txt --extra-index-url "$TORCH_INDEX" torch
COPY pyproject.toml setup.cfg MANIFEST.in README.md LICENSE CHANGELOG.md CITATION.cff ./
COPY pyg_diffusion pyg_diffusion
# without what only builds and tests read: headers, static libraries, tests, pip
RUN --mount=type=secret,id=pip,target=/etc/pip.conf pip install -c constraints.txt ".[$EXTRAS]" && \
    cd /opt/venv/lib/python*/site-packages && rm -rf torch/include torch/share && \
    find torch/bin -mindepth 1 ! -name torch_shm_manager -delete && \
    find . -type d -name tests -prune -exec rm -rf {} + && find . -name '*.a' -delete && \
    pip uninstall --quiet --yes setuptools pip

FROM docker.io/library/python:${PYTHON}-slim
# RDKit's drawings
RUN apt-get update && apt-get install -y --no-install-recommends libxrender1 libxext6 libexpat1 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/venv /opt/venv
RUN useradd --create-home --uid 1000 user && mkdir /data && chown user /data
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
USER user
WORKDIR /data
EXPOSE 8000
# of `serve` alone: any other command is healthy as long as it runs
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD tr '\0' ' ' < /proc/1/cmdline | grep -q ' serve' || exit 0; \
    python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=5)"
ENTRYPOINT ["pyg-diffusion"]
CMD ["--help"]
