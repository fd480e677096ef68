"""An index with its model and thumbnails: build, ingest, change and copy."""
