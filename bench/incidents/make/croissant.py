"""Writes Croissant metadata of a folder of cases: python croissant.py FOLDER > croissant.json

    pip install mlcroissant && mlcroissant validate --jsonld croissant.json

The folder has been made (`clippy-bench make`); its list of checksums is the file whose hash stands for all others.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/", "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/", "dct": "http://purl.org/dc/terms/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "data": {"@id": "cr:data", "@type": "@json"},
    "equivalentProperty": "cr:equivalentProperty", "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract",
    "field": "cr:field", "fileObject": "cr:fileObject", "fileProperty": "cr:fileProperty", "fileSet": "cr:fileSet", "format": "cr:format",
    "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5",
    "parentField": "cr:parentField", "path": "cr:path", "recordSet": "cr:recordSet", "references": "cr:references", "regex": "cr:regex",
    "repeated": "cr:repeated", "replace": "cr:replace", "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField",
    "transform": "cr:transform", "samplingRate": "cr:samplingRate",
}  # fmt: skip
FIELDS = {"id": "the name of the case", "kind": "injected, chronicle or healthy", "half": "open or hidden"}


def fields(record_set: str, files: str, described: dict[str, str]) -> list[dict]:
    """Fields of a record set that are members of a JSON object."""
    return [
        {
            "@type": "cr:Field", "@id": f"{record_set}/{name}", "name": name, "description": text, "dataType": "sc:Text",
            "source": {"fileSet": {"@id": files}, "extract": {"jsonPath": f"$.{name}"}},
        }
        for name, text in described.items()
    ]  # fmt: skip


def file_set(name: str, pattern: str, encoding: str, text: str) -> dict:
    """Files of the archive that match a pattern."""
    return {
        "@type": "cr:FileSet", "@id": name, "name": name, "description": text, "containedIn": {"@id": "cases"},
        "encodingFormat": encoding, "includes": pattern,
    }  # fmt: skip


def metadata(folder: Path) -> dict:
    """The metadata of a folder of cases."""
    digest = hashlib.sha256((folder / "checksums.txt").read_bytes()).hexdigest()
    return {
        "@context": CONTEXT, "@type": "sc:Dataset", "conformsTo": "http://mlcommons.org/croissant/1.0", "name": "incident-bench",
        "description": "Training incidents with logs, checkpoints, captures, healthy twins, and remedies that were rerun.",
        "license": "https://creativecommons.org/licenses/by/4.0/", "url": "https://github.com/OWNER/clippy-diag", "version": "0.1.0",
        "datePublished": "2026-11-30", "citeAs": "The incident bench of clippy-diag, 2026.",
        "creator": {"@type": "sc:Organization", "name": "clippy-diag"},
        "distribution": [
            {
                "@type": "cr:FileObject", "@id": "cases", "name": "cases", "description": "The folder that clippy-bench make writes.",
                "contentUrl": "cases", "encodingFormat": "application/x-directory", "sha256": digest,
            },
            file_set("truths", "*/truth.json", "application/json", "what is true of each case"),
            file_set("logs", "*/evidence/metrics.jsonl", "application/jsonlines", "records of each run"),
        ],
        "recordSet": [
            {"@type": "cr:RecordSet", "@id": "truth", "name": "truth", "description": "One record a case.", "field": fields("truth", "truths", FIELDS)}
        ],
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(metadata(Path(sys.argv[1])), indent=1))
