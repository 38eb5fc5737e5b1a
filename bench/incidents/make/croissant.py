"""Croissant metadata of a folder of cases; `make` writes it. Again, alone: python croissant.py FOLDER

    pip install mlcroissant==1.1.1
    python -m mlcroissant.scripts.validate --jsonld FOLDER/croissant.json
    python -m mlcroissant.scripts.load --jsonld FOLDER/croissant.json --record_set cases

`cases.jsonl` has one record a case, so that a reader of Croissant has a table. The truth itself is in each case's truth.json.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

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
#: The columns of cases.jsonl: type, and what is in it.
COLUMNS = {
    "id": ("sc:Text", "the name of the case and of its folder"),
    "kind": ("sc:Text", "injected, chronicle or healthy"),
    "half": ("sc:Text", "open or hidden"),
    "model": ("sc:Text", "the family of nets"),
    "optimizer": ("sc:Text", "the declared optimizer"),
    "fault": ("sc:Text", "the kind of fault, or of healthy run"),
    "trainer": ("sc:Text", "whose way of printing train.log has"),
    "alarm": ("sc:Boolean", "whether something is wrong"),
    "visibleIn": ("sc:Text", "kinds of evidence that show it, by blanks"),
    "class": ("sc:Text", "the class of the loss"),
    "onset": ("sc:Text", "first and last step of the onset's window, by a blank; empty where the loss shows none"),
    "trigger": ("sc:Text", "what set it off; the first where several are right, empty where nothing did"),
    "remedies": ("sc:Text", "remedies that held in three seeds, by blanks; empty where none was tried"),
    "source": ("sc:Text", "of a chronicle, its link"),
}


def row(truth: dict[str, Any]) -> dict[str, Any]:
    """The record of a case in cases.jsonl, from its truth."""
    onset, told = truth["onset"], truth["chronicle"] or {}
    return {
        "id": truth["id"], "kind": truth["kind"], "half": truth["half"], **truth["family"], "alarm": truth["alarm"],
        "visibleIn": " ".join(truth["visibleIn"]), "class": truth["classes"][0],
        "onset": "" if onset is None else f"{onset['first']} {onset['last']}", "trigger": (truth["triggers"] or [""])[0],
        "remedies": " ".join(one["action"] for one in truth["remedies"] if one["holds"]), "source": told.get("source", ""),
    }  # fmt: skip


def _file(path: Path, encoding: str, text: str) -> dict[str, Any]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "@type": "cr:FileObject", "@id": path.name, "name": path.name, "description": text, "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B", "encodingFormat": encoding, "sha256": digest,
    }  # fmt: skip


def _column(name: str, kind: str, text: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field", "@id": f"cases/{name}", "name": name, "description": text, "dataType": kind,
        "source": {"fileObject": {"@id": "cases.jsonl"}, "extract": {"column": name}},
    }  # fmt: skip


def metadata(folder: Path) -> dict[str, Any]:
    """The metadata of a folder that holds cases.jsonl and checksums.txt."""
    return {
        "@context": CONTEXT, "@type": "sc:Dataset", "conformsTo": "http://mlcommons.org/croissant/1.0", "name": "incident-bench",
        "description": "Small trainings with a known fault: logs, checkpoints, captures, healthy twins, and remedies that were rerun.",
        "license": "https://creativecommons.org/licenses/by/4.0/", "url": "https://github.com/OWNER/clippy-diag", "version": "0.1.0",
        "datePublished": "2026-11-30", "citeAs": "The incident bench of clippy-diag, 2026.",
        "creator": {"@type": "sc:Organization", "name": "clippy-diag"},
        "distribution": [
            _file(folder / "cases.jsonl", "application/jsonlines", "one record a case"),
            _file(folder / "checksums.txt", "text/plain", "the SHA-256 of every file of every case"),
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet", "@id": "cases", "name": "cases", "description": "One record a case.", "key": {"@id": "cases/id"},
                "field": [_column(name, kind, text) for name, (kind, text) in COLUMNS.items()],
            }
        ],
    }  # fmt: skip


def write(folder: Path) -> None:
    """Writes cases.jsonl and croissant.json of a folder that holds checksums.txt."""
    truths = [json.loads(path.read_text()) for path in sorted(folder.glob("*/truth.json"))]
    (folder / "cases.jsonl").write_text("".join(json.dumps(row(truth)) + "\n" for truth in truths))
    (folder / "croissant.json").write_text(json.dumps(metadata(folder), indent=1) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
