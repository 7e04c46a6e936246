#!/bin/sh
# Run compose on our files: sh containers/compose.sh "gpu postgres s3 monitoring" up --detach --wait
# Takes docker's compose, or podman-compose where there is no docker.
set -eu
with=$1
shift
cd "$(dirname "$0")"

files="--file compose.yaml"
for extra in $with; do
    case $extra in
        monitoring) files="$files --profile monitoring" ;;
        gpu | postgres | s3) files="$files --file compose.$extra.yaml" ;;
        *)
            echo "There is no '$extra' for compose: WITH takes gpu, postgres, s3 and monitoring." >&2
            exit 2
            ;;
    esac
done
: "${MICSERVE_VERSION:=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' ../micserve/__init__.py)}"
export MICSERVE_VERSION

if docker compose version > /dev/null 2>&1 && docker info > /dev/null 2>&1; then
    exec docker compose $files "$@"
elif command -v docker-compose > /dev/null && docker info > /dev/null 2>&1; then
    exec docker-compose $files "$@"
elif command -v podman-compose > /dev/null; then
    # It has no --wait, and keeps all containers in one pod unless told otherwise.
    for word in "$@"; do
        shift
        [ "$word" = --wait ] || set -- "$@" "$word"
    done
    exec podman-compose --in-pod false $files "$@"
fi
echo "Neither docker's compose nor podman-compose works here; install one of them." >&2
exit 2
