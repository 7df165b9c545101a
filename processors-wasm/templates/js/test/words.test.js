// Run by `npm test`.

import assert from 'node:assert/strict';
import test from 'node:test';
import { countWords, messages, micros } from '../src/words.js';

// Gives each message as its line and its words.
function check(...lines) {
  const numbered = lines.map((line, index) => [BigInt(index + 1), line]);
  return [...messages(numbered)].map(({ line, words }) => [Number(line), words]);
}

test('each message of the user is a row', () => {
  const rows = check(
    String.raw`{"type":"user","message":{"content":"fix the\nparser"},"timestamp":"2026-01-02T03:04:05Z"}`,
    '{"type":"assistant","message":{"content":[{"type":"text","text":"done"}]}}',
    '{"type":"user","message":{"content":[{"type":"text","text":"thank you"},{"type":"image"}]}}',
  );
  assert.deepEqual(rows, [[1, 3], [3, 2]]);
});

test('words are what stands between white space', () => {
  for (const [text, words] of [['', 0], [' ', 0], ['a', 1], ['\ta  \n\n b\r\n', 2], ['a\u00a0b \v c', 2]]) {
    assert.equal(countWords(text), words, text);
  }
});

test('what the agent writes in the user\'s name is none', () => {
  const rows = check(
    '{"type":"user","message":{"content":[{"type":"tool_result","content":"a b"}]}}',
    '{"type":"user","isMeta":true,"message":{"content":"a b"}}',
    '{"type":"user","isSidechain":true,"message":{"content":"a b"}}',
    '{"type":"user","message":{"content":"<command-name>/clear</command-name>"}}',
  );
  assert.deepEqual(rows, []);
});

test('damaged lines are passed over', () => {
  const rows = check(
    'not JSON',
    '',
    '[1]',
    '{"type":"user","message":{"content":"go on"}}',
    '{"type":"user","message":{"content":"go o',
  );
  assert.deepEqual(rows, [[4, 2]]);
});

test('a line may be nested, but not without end', () => {
  const deep = (x) => `{"type":"user","x":${x},"message":{"content":"go on"}}`;
  const nested = (depth) => '['.repeat(depth) + '1' + ']'.repeat(depth);
  const withinText = JSON.stringify(`\\"${'['.repeat(999)}`);
  assert.deepEqual(check(deep(nested(127)), deep(nested(128)), deep(withinText)), [[1, 2], [3, 2]]);
});

test('what is JSON is what the other languages take for it', () => {
  const line = (x) => `{"type":"user","x":${x},"message":{"content":"go on"}}`;
  for (const x of ['9'.repeat(300), '"\\ud83d\\ude00"', '"\\\\ud800"', '-0']) {
    assert.deepEqual(check(line(x)), [[1, 2]], x);
  }
  for (const x of ['NaN', '-Infinity', '01', '"\\ud800"', '"\\udc00\\ud800"', '"\t"']) {
    assert.deepEqual(check(line(x)), [], x);
  }
  const marked = `\ufeff${line(1)}`;
  assert.deepEqual(check(marked, marked), [[1, 2]]);
});

test('a time is microseconds, and anything else is none', () => {
  assert.equal(micros('2026-02-13T15:32:15.839+01:00'), 1_770_993_135_839_000n);
  assert.equal(micros('2016-12-31T23:59:60.5Z'), micros('2016-12-31T23:59:59.5Z'));
  for (const text of ['2026-02-30T00:00:00Z', '0001-01-01T00:00:00+01:00', '2026-02-13T14:32:15', 'yesterday', 5, null]) {
    assert.equal(micros(text), null);
  }
});
