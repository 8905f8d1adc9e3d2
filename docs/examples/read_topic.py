"""Prints every row change of a Binferry log in Kafka as a line of JSON, in order and once, as `binferry tail` does (FLOAT shows as a double).

    read_topic.py [--end] [--property security.protocol=SSL ...] localhost:9092 shop       # reads shop.log and shop.schemas

Kept simple: it leaves out the rows of copied tables (SnapshotRows); it holds a transaction in memory until it is complete, and the GTIDs of all that it has seen; it verifies no checksum of ours; and it
refuses a topic whose beginning has expired, where one would begin with a checkpoint. docs/records.md has the format, docs/kafka.md the rules.
"""
import argparse, base64, datetime, decimal, io, json, pathlib, re, signal, sys, uuid
import confluent_kafka, fastavro
from confluent_kafka import KafkaError

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--property", action="append", default=[], metavar="KEY=VALUE", help="client property of librdkafka")
parser.add_argument("--end", action="store_true", help="stop where the topic ends now")
parser.add_argument("bootstrap", help="host:port[,host:port]")
parser.add_argument("name", help="the log's name")
options = parser.parse_args()
for ends_quietly in (signal.SIGINT, signal.SIGPIPE):
    signal.signal(ends_quietly, signal.SIG_DFL)
envelopes = {}  # every version's, by what its records begin with
for path in (pathlib.Path(__file__).parents[2] / "schemas").glob("binferry*.avsc"):
    raw = json.loads(path.read_text())
    name = fastavro.schema.fingerprint(fastavro.schema.to_parsing_canonical_form(raw), "CRC-64-AVRO")
    envelopes[b"\xc3\x01" + bytes.fromhex(name)] = fastavro.parse_schema(raw)


def messages(topic, until_end=False):
    """The topic's messages from its start on. Offsets may have gaps: Kafka tells where the end is, never the last message's number."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": options.bootstrap, "group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "error"}
        | {"enable.partition.eof": True} | dict(item.split("=", 1) for item in options.property))
    consumer.assign([place := confluent_kafka.TopicPartition(topic, 0, confluent_kafka.OFFSET_BEGINNING)])
    start, end = consumer.get_watermark_offsets(place, timeout=60)
    if topic.endswith(".log") and start > 0:
        sys.exit(f"{topic}: what was before offset {start} has expired; see docs/kafka.md")
    while not until_end or start < end:
        message = consumer.poll()
        code = message.error() and message.error().code()
        if code is None:
            start = message.offset() + 1
            yield message
        elif code == KafkaError._PARTITION_EOF:
            start = message.offset()
        elif code != KafkaError.GROUP_AUTHORIZATION_FAILED:  # we are in no group
            sys.exit(f"{topic}: {message.error()}")


def transactions():
    """The fold: every transaction that counts, as a list of (offset, chunk)."""
    newest, expected, incomplete, seen = {}, {}, {}, set()
    for message in messages(options.name + ".log", options.end):
        data = message.value() or b""
        if data[:2] != b"\xc3\x01":  # another program's: no record of a log
            continue
        if data[:10] not in envelopes:
            sys.exit(f"offset {message.offset()}: a record of another version of Binferry")
        record = fastavro.schemaless_reader(io.BytesIO(data[10:]), envelopes[data[:10]])
        body, writer, number = record["body"], record["incarnation"], record["sequence"]
        if "site" in body and newest.get(body["site"]) != writer:  # a Start: only this incarnation of the site counts from here on
            ended, newest[body["site"]], expected[writer] = newest.get(body["site"]), writer, 1
            expected.pop(ended, None), incomplete.pop(ended, None)
        elif number > expected.get(writer, number):  # one is missing: the incarnation has ended
            expected.pop(writer), incomplete.pop(writer, None)
        elif number == expected.get(writer):  # lower: a repeat
            expected[writer] += 1
            if part := body.get("transaction"):  # a Checkpoint, a Heartbeat or a copy's record has none
                gtid = part["gtid"]["uuid"], part["gtid"]["tag"], part["gtid"]["gno"]
                before, chunks = incomplete.pop(writer, (gtid, [])) if part["chunk"] else (gtid, [])
                if gtid in seen or gtid != before or len(chunks) != part["chunk"]:
                    continue  # seen before, or its beginning did not count
                chunks.append((message.offset(), body))
                if part["last"]:
                    seen.add(gtid)
                    if "xid" in body:  # XaPrepared: it counts, and its changes come again with the XA COMMIT
                        continue
                    yield ":".join([str(uuid.UUID(bytes=gtid[0])), *filter(None, gtid[1:2]), str(gtid[2])]), chunks
                else:
                    incomplete[writer] = gtid, chunks


def changes(chunks):
    """(offset, table, operation, images): a row that is larger than a record comes in fragments, to be joined."""
    images = {}
    for offset, body in chunks:
        for change in body.get("changes", []):  # a Ddl has none
            for side in filter(change.get, ("before", "after")):
                images.setdefault(side, (change[side]["present"], bytearray()))[1].extend(change[side]["datum"])
            if not change["more"]:
                yield offset, body["tables"][change["table"]], change["operation"], images
                images = {}


def row(fingerprint, present, datum, known={}):
    """The columns by name. Schemas are in their topic before any record refers to them; an absent column is left out."""
    if fingerprint not in known:
        numbers = lambda item: {k: v for k, v in item.items() if k != "logicalType" or v == "decimal"}  # Python's dates have no year 0
        texts = {m.key().decode(): m.value() for m in messages(options.name + ".schemas", until_end=True)}
        known.update({key: fastavro.parse_schema(json.loads(text, object_hook=numbers)) for key, text in texts.items() if text})
    values = fastavro.schemaless_reader(io.BytesIO(datum), known[fingerprint])
    there = (f for n, f in enumerate(known[fingerprint]["fields"]) if present is None or present[n // 8] >> n % 8 & 1)
    return {field["mysql.name"]: plain(values[field["name"]], field["mysql.type"]) for field in there}


def plain(value, kind):
    """A value of Avro as `binferry tail` prints this MySQL type."""
    if isinstance(value, dict):  # a JSON document whose text alone would lose a type: its binary form is beside it
        return value["text"]
    if isinstance(value, bytes):
        text = base64.b64encode(value).decode()
        return {"base64": text} if re.match("(var)?char|[a-z]*text", kind) else text
    if isinstance(value, decimal.Decimal):
        return format(value, "f") if kind.startswith("decimal") else int(value)
    if not isinstance(value, int) or not re.match("date|time", kind):
        return value
    name, digits = re.match(r"(\w+)(?:\((\d)\))?", kind).groups("0")
    days, rest = (value, 0) if name == "date" else (0, abs(value)) if name == "time" else divmod(value, 86400 * 10**6)
    early = days < -719162  # before the year 1, which is Python's first; the calendar repeats after 400 years
    day = datetime.date.fromordinal(days + 719163 + early * 146097)
    seconds, micros = divmod(rest, 10**6)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}" + f".{micros:06}"[: int(digits) + 1] * (digits > "0")
    date = f"{day.year - early * 400:04}-{day:%m-%d}"
    return date if name == "date" else "-" * (value < 0) + clock if name == "time" else f"{date} {clock}"


try:
    for name, chunks in transactions():
        first, count = chunks[0][1]["transaction"], sum(not c["more"] for _, body in chunks for c in body.get("changes", []))
        for index, (offset, table, operation, images) in enumerate(changes(chunks)):
            line = {"offset": offset, "gtid": name, "index": index, "last": index + 1 == count, "op": operation}
            line |= {"database": table["database"], "table": table["table"]}
            line |= {side: row(table["schema"].hex(), *image) for side, image in images.items()}
            print(json.dumps(line | {"ts_us": first["original_commit_us"]}))
        sys.stdout.flush()
except confluent_kafka.KafkaException as error:
    sys.exit(f"{options.name}: {error}")
