#!/bin/sh
# Puts the librdkafka of the Python package confluent-kafka 2.16.1 (Apache License 2.0) into a folder, for tests of clvd
# with a newer client than Debian's. Python is not involved: LD_LIBRARY_PATH=FOLDER makes any program load it.
#
#   Tools/newer-librdkafka.sh [FOLDER]      default: .build/newer-librdkafka
set -eu

version=2.16.1
folder="${1:-$(dirname "$0")/../.build/newer-librdkafka}"
case "$(uname -m)" in
    x86_64) sha256=24f613cc81a856b6fbb2d7d11044a9aa770044eecc1f83ff84618688b056be06 ;;
    aarch64) sha256=c012a1d74f95e91c9c43f0aa996d5fea8582397144c1f96b553f24b594afa7c6 ;;
    *)
        echo "newer-librdkafka: there is no package for $(uname -m)" >&2
        exit 1
        ;;
esac
[ -f "$folder/librdkafka.so.1" ] && exit 0

mkdir -p "$folder"
scratch="$(mktemp -d "$folder/.fetch.XXXXXX")"
trap 'rm -rf "$scratch"' EXIT
echo "confluent-kafka==$version --hash=sha256:$sha256" >"$scratch/requirements.txt"
python3 -m pip --disable-pip-version-check --quiet download --no-deps --only-binary :all: --require-hashes \
    --python-version 3.11 --implementation cp --abi cp311 --platform "manylinux_2_28_$(uname -m)" \
    --dest "$scratch" --requirement "$scratch/requirements.txt" || {
    echo "newer-librdkafka: pip cannot fetch confluent-kafka $version; check the network, then try again." >&2
    exit 1
}
python3 -m zipfile -e "$scratch"/confluent_kafka-*.whl "$scratch"
mv "$scratch"/confluent_kafka.libs/librdkafka-*.so.1 "$folder/librdkafka.so.1"
