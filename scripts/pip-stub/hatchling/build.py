"""The one hook of PEP 517 that `pip download` calls: a name and a version, read from nothing."""

from pathlib import Path


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = Path(metadata_directory, "scrfd-0.3.0.dist-info")
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: scrfd\nVersion: 0.3.0\n")
    return folder.name
