"""The processor as the host sees it; what it counts stands in words.py."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import records, transcript
from wit_world.imports.types import (
    Column,
    Kind,
    Manifest,
    Order,
    Ownership_Session,
    Summary,
    Table,
    Value_Null,
    Value_S64,
    Value_Timestamp,
)

import words

# Raise it whenever the same transcript gives other rows than before: every session is processed again then.
VERSION = 1
# Below, calls cost more than they give; above, memory is spent for nothing.
CHUNK_BYTES = 256 * 1024
BATCH_ROWS = 256


class Guest(exports.Guest):
    def describe(self, settings):
        return Manifest(
            name="{{name}}",
            version=VERSION,
            description="Counts the words of each message that the user typed.",
            cadence_seconds=600,
            order=Order.INDEPENDENT,
            uses_llm=False,
            tables=[
                Table(
                    name="messages",
                    ownership=Ownership_Session(),
                    columns=[
                        Column("line", Kind.S64),
                        Column("said_at", Kind.TIMESTAMP),
                        Column("words", Kind.S64),
                    ],
                )
            ],
            extra=[],
        )

    def process(self, session):
        # An exception that gets out ends the instance without a word; as an answer it is kept.
        try:
            return Summary(items=process(), extra=[])
        except Exception as error:
            raise Err(told(error))


def told(error):
    """The error and the way to it. `traceback` would look for source files, and there are no files."""
    text = [f"{type(error).__name__}: {error}"]
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        text.append(f"{code.co_filename}:{step.tb_lineno} in {code.co_name}")
        step = step.tb_next
    return "\n".join(text)


def process():
    """Hands over a row for each message; gives how many."""
    count = 0
    batch = []
    for line, said_at, word_count in words.messages(lines()):
        time = Value_Null() if said_at is None else Value_Timestamp(said_at)
        batch.append([Value_S64(line), time, Value_S64(word_count)])
        count += 1
        if len(batch) == BATCH_ROWS:
            records.insert("messages", batch)
            batch = []
    if batch:
        records.insert("messages", batch)
    return count


def lines():
    """The lines of the transcript with their numbers, chunk by chunk."""
    while True:
        chunk = transcript.read_lines(CHUNK_BYTES)
        if not chunk.bytes:
            return
        yield from enumerate(chunk.bytes.removesuffix(b"\n").split(b"\n"), chunk.first_line)
