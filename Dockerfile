# The default study and the tests in a container. Build it in the checkout, and keep the results outside:
#   docker build --tag approxgrad .
#   docker run --rm --volume "$PWD/results:/approxgrad/results" approxgrad
#   docker run --rm approxgrad make test
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /approxgrad
# Before the sources, so that a change of these does not install the dependencies again.
COPY requirements.lock ./
RUN python -m venv .venv && .venv/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock
COPY . .
RUN make setup
CMD ["make", "run"]
