# The service of proxyhash. The image holds the package only; index and keys are mounted:
#
#     docker build -t proxyhash .
#     docker run -p 127.0.0.1:8080:8080 -v ./photos.index:/data/index:ro \
#         -v ./keys.json:/run/secrets/keys.json:ro proxyhash
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src src
# The CPU build of torch: without it pip fetches several GB of CUDA libraries.
RUN python -m venv /opt/proxyhash \
    && /opt/proxyhash/bin/pip install --no-cache-dir -c constraints.txt \
        --extra-index-url https://download.pytorch.org/whl/cpu ".[serve,milvus]"

FROM python:3.12-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 proxyhash
COPY --from=build /opt/proxyhash /opt/proxyhash
ENV PATH=/opt/proxyhash/bin:$PATH PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
USER proxyhash
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=2)"]
# Exec form, so that SIGTERM and SIGHUP reach the service itself.
ENTRYPOINT ["proxyhash", "serve"]
CMD ["/data/index", "--host", "0.0.0.0", "--port", "8080", "--keys", "/run/secrets/keys.json"]
