# aft's control plane. Build from the root of the repository: docker build -f docker/api.Dockerfile .
FROM python:3.11-slim

RUN useradd --create-home --uid 10001 aft && install -d -o aft -g aft /data
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY shared shared
COPY services services
COPY cli cli
COPY migrations migrations
RUN pip install --no-cache-dir '.[api,cli]' -c constraints.txt

USER aft
ENV AFT_HOST=0.0.0.0 AFT_PORT=8800 AFT_DATA_DIR=/data PYTHONUNBUFFERED=1
EXPOSE 8800
VOLUME /data
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=6 \
    CMD ["python", "-c", "import httpx; httpx.get('http://127.0.0.1:8800/healthz', timeout=4).raise_for_status()"]
CMD ["python", "-m", "aft_api"]
