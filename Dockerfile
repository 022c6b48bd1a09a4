# syntax=docker/dockerfile:1
# One image for every service of docker-compose.yaml, for linux/amd64 and linux/arm64:
#   docker buildx build --platform linux/amd64,linux/arm64 --tag stepzero .
#
# The packages go into an environment of their own, made from the lock with hashes: the same versions that the tests ran
# with. So any base with Python 3.11, glibc 2.28 or newer and apt will do, for example
#   --build-arg BASE=apache/airflow:3.3.2-python3.11
# For Astro, replace this file by two lines, of which the first names your runtime image: it installs packages.txt and
# requirements.txt by itself, but only the project's folder is on its path.
#   FROM YOUR_RUNTIME_IMAGE
#   ENV PYTHONPATH=/usr/local/airflow/include
ARG BASE=python:3.11-slim-bookworm
# hadolint ignore=DL3006
FROM ${BASE}

USER 0
SHELL ["/bin/bash", "-o", "errexit", "-o", "pipefail", "-c"]

COPY packages.txt /tmp/packages.txt
# Debian drops old versions of a package when it mends a newer one: a pinned version would not build for long.
# hadolint ignore=DL3008
RUN apt-get update \
    && grep -Ev '^(#|$)' /tmp/packages.txt | xargs apt-get install --yes --no-install-recommends \
    && rm -rf /var/lib/apt/lists/* /tmp/packages.txt

ENV PATH=/opt/stepzero/venv/bin:${PATH} \
    VIRTUAL_ENV=/opt/stepzero/venv \
    PYTHONPATH=/opt/stepzero/include \
    PYTHONUNBUFFERED=1 \
    STEPZERO_HOME=/stepzero \
    STEPZERO_INCLUDE=/opt/stepzero/include \
    AIRFLOW_HOME=/stepzero/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/stepzero/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/stepzero/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    MLFLOW_DISABLE_TELEMETRY=true

WORKDIR /opt/stepzero
COPY requirements.txt ./
COPY requirements/bootstrap.txt requirements/
# uv first, by hash; then everything else by hash. Only pyspark has no wheel. What the lock leaves out (GPU communication)
# must not be asked for again, hence sync and not install.
RUN python -m venv /tmp/uv \
    && /tmp/uv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: --requirement requirements/bootstrap.txt \
    && /tmp/uv/bin/uv venv --python "$(command -v python)" /opt/stepzero/venv \
    && /tmp/uv/bin/uv pip sync --no-cache --require-hashes --only-binary :all: --no-binary pyspark \
       --python /opt/stepzero/venv/bin/python requirements.txt \
    && rm -rf /tmp/uv

COPY include include
COPY plugins plugins
COPY dags dags
COPY packaging/compose_init.py packaging/stepzero.sh packaging/serve.sh packaging/
# The state is a volume; a fresh one takes over the owner of this folder. The user's number is Airflow's own; where the
# base has no such user it gets a name, for Airflow and Hadoop ask for it and end without one.
RUN install --mode=0755 packaging/stepzero.sh /opt/stepzero/venv/bin/stepzero \
    && install --mode=0755 packaging/serve.sh /opt/stepzero/venv/bin/serve \
    && { getent passwd 50000 || useradd --uid 50000 --gid 0 --home-dir /stepzero --no-create-home stepzero; } \
    && mkdir /stepzero && chown 50000:0 /stepzero && chmod 0770 /stepzero

USER 50000:0
ENTRYPOINT []
CMD ["stepzero", "--help"]
