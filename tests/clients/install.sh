#!/bin/sh
# Installs what tests drive, below target/clients: client libraries (PyGithub, and Octokit where there is an npm), a provider
# of OpenID Connect, and checkers of files in deploy and of the API. What cannot be installed is said in a line, and its test says that it was skipped.
set -eu
here=$(dirname "$0")
to=target/clients
mkdir -p "$to"

if ! cmp -s "$here/requirements.txt" "$to/python/requirements.txt"; then
    python3 -c 'import venv, ensurepip' 2>/dev/null || sh tests/setup.sh python3-venv
    if python3 -m venv "$to/python" >/dev/null 2>&1 &&
        "$to/python/bin/python" -m pip install -q --disable-pip-version-check -r "$here/requirements.txt"; then
        cp "$here/requirements.txt" "$to/python/requirements.txt"
        echo "installed: PyGithub, kubernetes-validate, hadolint, openapi-spec-validator, schemathesis"
    else
        echo "missing: PyGithub, kubernetes-validate, hadolint, openapi-spec-validator, schemathesis; their tests are skipped. They take python3 with venv, and PyPI" >&2
    fi
fi

if ! cmp -s "$here/package-lock.json" "$to/node/package-lock.json" || ! [ -d "$to/node/node_modules" ]; then
    mkdir -p "$to/node"
    cp "$here/package.json" "$here/package-lock.json" "$to/node/"
    if command -v npm >/dev/null 2>&1 && npm ci --prefix "$to/node" --no-audit --no-fund --silent; then
        echo "installed: Octokit, oidc-provider"
    else
        echo "missing: Octokit, oidc-provider; their tests are skipped. They take npm, and the npm registry" >&2
    fi
fi
