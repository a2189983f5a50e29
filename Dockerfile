# Polka: one image for the api, the cache, the spammer and every command. `docker run polka --help` lists them.
# The target `local` adds a Postgres, for `polka up` and `polka demo` in one container. The last target is the default.
FROM python:3.13-slim AS build

# What is installed is checked against the hashes in requirements.txt. Symbols, C sources, the packages' own
# tests and pip itself are left out: they are half of the size. So are the languages of Faker, which Litestar brings along.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends binutils
COPY requirements.txt .
RUN python -m venv --without-pip /opt/polka \
    && pip --python /opt/polka/bin/python install --quiet --no-cache-dir --disable-pip-version-check \
        --require-hashes --only-binary :all: --requirement requirements.txt \
    && find /opt/polka -name '*.so*' -exec strip --strip-unneeded {} + \
    && find /opt/polka \( -type d -name tests -o -name '*.c' -o -name '*.h' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' \) -prune \
        -exec rm -r {} + \
    && find /opt/polka/lib/python3.13/site-packages/faker/providers -mindepth 2 -maxdepth 2 -type d \
        ! -name 'en*' ! -name la ! -name __pycache__ -prune -exec rm -r {} +
RUN printf '%s\n' '#!/opt/polka/bin/python' 'from polka.command.main import main' 'if __name__ == "__main__":' '    main()' \
        >/opt/polka/bin/polka \
    && chmod 755 /opt/polka/bin/polka


FROM python:3.13-slim AS polka

LABEL org.opencontainers.image.title="Polka" \
    org.opencontainers.image.description="A payments processor and clearing house: load it, break it, watch it." \
    org.opencontainers.image.licenses="Apache-2.0"

# Whom the code belongs to: nobody who runs it, unless files are synced into it while it runs.
ARG SOURCE_OWNER=0
COPY --from=build /opt/polka /opt/polka
COPY --chown=${SOURCE_OWNER} src /app/src
RUN PYTHONPATH= /opt/polka/bin/python -m compileall -q /app/src

ENV PATH=/opt/polka/bin:$PATH PYTHONPATH=/app/src PYTHONUNBUFFERED=1
WORKDIR /app
USER 10001:10001
EXPOSE 8000 8100 8089
# One process, and no shell around it: signals reach it.
ENTRYPOINT ["polka"]
CMD ["--help"]


FROM polka AS local

# A user with a name, because Postgres asks the kernel who connects. A volume keeps the payments.
USER root
COPY requirements-run.txt /tmp/
RUN pip --python /opt/polka/bin/python install --quiet --no-cache-dir --disable-pip-version-check \
        --require-hashes --only-binary :all: --requirement /tmp/requirements-run.txt \
    && rm /tmp/requirements-run.txt \
    && useradd --uid 10001 --user-group --home-dir /var/lib/polka --create-home polka
ENV XDG_DATA_HOME=/var/lib POLKA_HOST=0.0.0.0
VOLUME /var/lib/polka
WORKDIR /var/lib/polka
USER polka
EXPOSE 8000
CMD ["up"]


FROM polka
