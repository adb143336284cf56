#!/usr/bin/env bash
# make test-docker: build the image and start it. Where no engine runs, every line of the Dockerfile is run in a chroot
# instead: the files of this machine, in place of those of FROM, under a layer of their own that is thrown away. That
# takes root and overlayfs; where there is neither, it says so and ends with UNTESTED, 1 if not given.
set -euo pipefail
repo=$(cd "$(dirname "$0")/../.." && pwd)
cd "$repo"
if docker info > /dev/null 2>&1; then
    docker build --file docker/Dockerfile --tag lightning-mri .
    exec docker run --rm lightning-mri --version
fi
if [ "${1:-}" != inside ]; then
    if [ "$(id -u)" -ne 0 ] || ! unshare --mount true 2> /dev/null; then
        echo "the Dockerfile is not tested: no engine, and a chroot takes root" >&2
        exit "${UNTESTED:-1}"
    fi
    layer=$(mktemp -d)
    trap 'rm -rf "$layer"' EXIT
    mkdir "$layer"/{upper,work,root}
    unshare --mount bash "$0" inside "$layer"
    exit
fi
layer=$2
mount -t overlay overlay -o "lowerdir=/,upperdir=$layer/upper,workdir=$layer/work" "$layer/root" || {
    echo "the Dockerfile is not tested: no engine, and overlayfs cannot be mounted" >&2
    exit "${UNTESTED:-1}"
}
for folder in proc dev; do mount --rbind "/$folder" "$layer/root/$folder"; done
# instructions become shell: both stages are one folder here, so that what is copied between them is there already
python3 - > "$layer/root/lines.sh" <<'PYTHON'
import json
import re
from pathlib import Path

text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", Path("docker/Dockerfile").read_text(), flags=re.M))
print("set -exo pipefail\nexport DEBIAN_FRONTEND=noninteractive")
print("command -v python > /dev/null || ln -s $(command -v python3) /usr/local/bin/python")
print("! name=$(id -nu 1000 2> /dev/null) || userdel --force $name")  # the base image has no such user
for line in filter(None, text.splitlines()):
    word, _, rest = line.partition(" ")
    copied = rest.split()
    match word:
        case "RUN":
            print(rest)
        case "ENV":
            print("export", rest)
        case "WORKDIR":
            print(f"mkdir -p {rest}\ncd {rest}")
        case "COPY" if not rest.startswith("--from"):
            sources = " ".join(f"{Path.cwd() / name}" for name in copied[:-1])
            print(f"mkdir -p $(dirname {copied[-1]})\ncp -rT {sources} {copied[-1]}" if len(copied) == 2 and Path(copied[0]).is_dir() else f"cp {sources} {copied[-1]}")
        case "ENTRYPOINT":
            print(*json.loads(rest), "--version")
PYTHON
chroot "$layer/root" bash /lines.sh
echo "every line of the Dockerfile ran; FROM and USER, and what differs between this machine and its image, did not"
