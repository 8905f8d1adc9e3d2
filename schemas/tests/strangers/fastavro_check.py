"""Reads every golden file with fastavro, as a stranger would, and prints what it found as canonical JSON.

Nothing here knows how Binferry encodes: only the published schemas, Avro's single-object encoding, and what docs say of the row schema's
fingerprint and of the checksum over the changes.
"""

import base64
import datetime
import decimal
import io
import json
import pathlib
import sys

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form


def rabin_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0xC15D213AA4D7A795 if value & 1 else 0)
        table.append(value)
    return table


RABIN = rabin_table()


def rabin(data):
    """CRC-64-AVRO over bytes: how a row schema's stored text is named."""
    value = 0xC15D213AA4D7A795
    for byte in data:
        value = (value >> 8) ^ RABIN[(value ^ byte) & 0xFF]
    return value


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def plain(value):
    """Avro values as JSON, with no digit and no type lost."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, decimal.Decimal):
        return {"decimal": format(value, "f")}
    if isinstance(value, (datetime.datetime, datetime.date)):
        return {type(value).__name__: value.isoformat()}
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return {"branch": value[0], "value": plain(value[1])}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def read(schema, data):
    stream = io.BytesIO(data)
    value = fastavro.schemaless_reader(stream, schema, return_record_name=True)
    assert not stream.read(), "bytes are left over"
    return value


def read_framed(schema, canonical, data):
    assert data[:2] == b"\xc3\x01", "not a single object"
    # fastavro prints the fingerprint's bytes in the order in which the framing has them.
    assert data[2:10].hex() == fingerprint(canonical, "CRC-64-AVRO"), "another schema"
    return read(schema, data[10:])


def images(changes, tables, rows):
    """The row images of a write-set, their fragments joined, decoded by the schemas that they name."""
    result, parts = [], {"before": b"", "after": b""}
    for change in changes:
        for side in parts:
            image = change[side]
            if image is not None:
                parts[side] += (image[1] if isinstance(image, tuple) else image)["datum"]
        if change["more"]:
            continue
        schema = rows[tables[change["table"]]["schema"]]
        result.append({side: plain(read(schema, datum)) for side, datum in parts.items() if datum})
        parts = {"before": b"", "after": b""}
    return result


def check(folder, rows):
    found = {}
    schemas = {}
    # A version whose fold state is that of the one before has no schema of it.
    for name in [name for name in ("envelope", "fold") if (folder / f"{name}.avsc").exists()]:
        raw = json.loads((folder / f"{name}.avsc").read_text())
        canonical = to_parsing_canonical_form(raw)
        schemas[name] = (fastavro.parse_schema(raw), canonical)
    envelope_json = json.loads((folder / "envelope.avsc").read_text())

    row_schemas = {}
    for path in sorted(folder.glob("rows/*.avsc")):
        text = path.read_bytes()
        schema = fastavro.parse_schema(json.loads(text))
        row_schemas[path.stem] = schema
        rows[rabin(text).to_bytes(8, "big")] = schema
        found[f"rows/{path.name}"] = {
            "fingerprint": f"{rabin(text):016x}",
            "fields": [field["name"] for field in schema["fields"]],
        }
    for path in sorted(folder.glob("rows/*.datum")):
        table = path.name.split(".")[0]
        found[f"rows/{path.name}"] = plain(read(row_schemas[table], path.read_bytes()))

    for path in sorted(folder.glob("records/*.bin")):
        record = read_framed(*schemas["envelope"], path.read_bytes())
        entry = plain(record)
        kind, body = record["body"]
        if kind in ("binferry.WriteSet", "binferry.XaPrepared", "binferry.SnapshotRows"):
            # The samples' changes are of table 1.
            tables = body["tables"] if "tables" in body else [body["table"]] * 2
            entry["images"] = images(body["changes"], tables, rows)
            encoded = changes_bytes(envelope_json, body["changes"])
            assert encoded in path.read_bytes(), "the changes are encoded in another way"
            assert crc32c(encoded) == body["crc"], "the checksum differs"
        found[f"records/{path.name}"] = entry
    if "fold" in schemas:
        found["fold_state.bin"] = plain(read_framed(*schemas["fold"], (folder / "fold_state.bin").read_bytes()))
    return found


def definition(schema, name):
    """The definition of a named type inside a schema."""
    if isinstance(schema, dict):
        if schema.get("name") == name and "type" in schema:
            if isinstance(schema["type"], str):
                return schema
        schema = list(schema.values())
    if isinstance(schema, list):
        return next(filter(None, (definition(item, name) for item in schema)), None)
    return None


def changes_bytes(envelope, changes):
    """The changes as fastavro itself would write them, one after the other."""
    # A change's definition holds those of all types inside it.
    change_schema = fastavro.parse_schema({**definition(envelope, "Change"), "namespace": "binferry"})
    stream = io.BytesIO()
    for change in changes:
        fastavro.schemaless_writer(stream, change_schema, change)
    return stream.getvalue()


def main():
    golden = pathlib.Path(sys.argv[1])
    rows = {}  # of all versions: they have had one
    found = {folder.name: check(folder, rows) for folder in sorted(golden.iterdir()) if folder.is_dir()}
    json.dump(found, sys.stdout, indent=1, sort_keys=True, ensure_ascii=True)
    print()


main()
