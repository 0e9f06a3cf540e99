# aft's training worker, for CPUs. Build from the root of the repository: docker build -f docker/worker.Dockerfile .
# For accelerators install jax's extra on top, for example: pip install 'jax[cuda13]' -c constraints.txt
FROM python:3.11-slim

RUN useradd --create-home --uid 10001 aft && install -d -o aft -g aft /data
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY shared shared
COPY services services
COPY cli cli
COPY migrations migrations
RUN pip install --no-cache-dir '.[worker,datasets]' -c constraints.txt

USER aft
ENV AFT_WORKER_HOST=0.0.0.0 AFT_WORKER_PORT=8801 AFT_WORKER_ROOT=/data PYTHONUNBUFFERED=1
EXPOSE 8801
VOLUME /data
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-c", "import httpx; httpx.get('http://127.0.0.1:8801/v1/healthz', timeout=4).raise_for_status()"]
CMD ["python", "-m", "aft_worker"]
