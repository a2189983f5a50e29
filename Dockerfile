# Polka: one image for the api, the cache, the spammer and every command. `docker run polka --help` lists them.
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


FROM python:3.13-slim

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
