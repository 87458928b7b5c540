# Trains as a user without privileges; mount your data and keep the runs:
#   docker build -t depthdif .
#   docker run --rm -v "$PWD/runs:/app/runs" -v "$PWD/data:/data" depthdif model/ema=quick
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 ocean && mkdir -p /app/runs /app/multirun /data && chown -R ocean:ocean /app /data
WORKDIR /app

COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
COPY depthdif depthdif
COPY conf conf
RUN pip install --no-cache-dir --constraint constraints.txt .

USER ocean
ENV MPLCONFIGDIR=/tmp/matplotlib
VOLUME ["/data", "/app/runs", "/app/multirun"]
ENTRYPOINT ["depthdif-train"]
CMD ["model/ema=quick"]
