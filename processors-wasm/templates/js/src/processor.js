// The processor as the host sees it; what it counts stands in words.js.

import { insert } from 'session-pipeline:processor/records@1.1.0';
import { readLines } from 'session-pipeline:processor/transcript@1.1.0';
import { messages } from './words.js';

// Raise it whenever the same transcript gives other rows than before: every session is processed again then.
const VERSION = 1;
// Below, calls cost more than they give; above, memory is spent for nothing.
const CHUNK_BYTES = 256 * 1024;
const BATCH_ROWS = 256;
const NEWLINE = 10;

export const guest = {
  describe(_settings) {
    return {
      name: '{{name}}',
      version: VERSION,
      description: 'Counts the words of each message that the user typed.',
      cadenceSeconds: 600,
      order: 'independent',
      usesLlm: false,
      tables: [
        {
          name: 'messages',
          ownership: { tag: 'session' },
          columns: [
            { name: 'line', kind: 's64' },
            { name: 'said_at', kind: 'timestamp' },
            { name: 'words', kind: 's64' },
          ],
        },
      ],
      extra: [],
    };
  },

  process(_session) {
    // An error that gets out ends the instance without a word; thrown as a text it is kept as our answer.
    try {
      return { items: processLines(), extra: [] };
    } catch (error) {
      throw `${error}\n${error.stack}`;
    }
  },
};

// Hands over a row for each message; gives how many.
function processLines() {
  let count = 0n;
  let batch = [];
  for (const { line, saidAt, words } of messages(lines())) {
    batch.push([
      { tag: 's64', val: line },
      saidAt === null ? { tag: 'null' } : { tag: 'timestamp', val: saidAt },
      { tag: 's64', val: BigInt(words) },
    ]);
    count += 1n;
    if (batch.length === BATCH_ROWS) {
      insert('messages', batch);
      batch = [];
    }
  }
  if (batch.length > 0) insert('messages', batch);
  return count;
}

// The lines of the transcript with their numbers, chunk by chunk. What is no UTF-8 is no JSON either,
// and comes as an empty line.
function* lines() {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  for (;;) {
    const { bytes, firstLine } = readLines(CHUNK_BYTES);
    if (bytes.length === 0) return;
    let line = firstLine;
    for (let start = 0; start < bytes.length; line += 1n) {
      const newline = bytes.indexOf(NEWLINE, start);
      const end = newline < 0 ? bytes.length : newline;
      yield [line, decode(decoder, bytes.subarray(start, end))];
      start = end + 1;
    }
  }
}

function decode(decoder, bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    return '';
  }
}
