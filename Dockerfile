# A worker: Python, the locked runtime dependencies, the engine; no build tools, no root.
FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv --without-pip /opt/engage
COPY requirements-runtime.lock .
RUN pip --python /opt/engage/bin/python install --no-cache-dir --require-hashes --requirement requirements-runtime.lock
COPY pyproject.toml setup.py README.md LICENSE ./
COPY engine engine
COPY rules rules
COPY schemas schemas
# The base image's own setuptools builds the wheel, so that nothing is fetched that is not locked.
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel . \
    && pip --python /opt/engage/bin/python install --no-cache-dir --no-deps --no-index /wheel/*.whl

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin engage
COPY --from=build /opt/engage /opt/engage
ENV PATH=/opt/engage/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    ENGAGE_WEB_HOST=0.0.0.0 ENGAGE_WEB_PORT=6066
USER 10001
WORKDIR /tmp
EXPOSE 6066
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"ENGAGE_WEB_PORT\"]}/health/live', timeout=2)"]
ENTRYPOINT ["engage"]
CMD ["run"]
