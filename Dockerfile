# One image for every process of the service; docker-compose.yml says which one a container runs.
FROM python:3.13-slim-bookworm AS build
WORKDIR /build
RUN python -m venv /service
COPY requirements.lock ./
RUN /service/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
# Node builds the page; it stays out of the service's environment.
COPY requirements-node.lock ./
RUN /service/bin/pip install --no-cache-dir --require-hashes --target /node -r requirements-node.lock
COPY pyproject.toml README.md ./
COPY scripts/build_web.py scripts/build_web.py
COPY schemas schemas
COPY app app
RUN PYTHONPATH=/node /service/bin/pip install --no-cache-dir --no-deps --no-build-isolation --no-index .

FROM python:3.13-slim-bookworm
# The folder belongs to the user before it becomes a volume: a new named volume takes that over.
RUN useradd --uid 10001 --no-create-home service && install -d -o service -g service /data
COPY --from=build /service /service
USER service
ENV PATH=/service/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    EXPORT_DATA_DIR=/data \
    EXPORT_HOST=0.0.0.0
WORKDIR /data
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["export-service"]
CMD ["--help"]
