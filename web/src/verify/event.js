// Whether a line of a bundle agrees with its leaf: its columns with the hash, its body with the commitment.

import { base64, Fault, same, text } from './bytes.js';
import { commitmentOf, leafData, SALT_BYTES } from './leaf.js';
import { leafHash } from './merkle.js';

export const NOT_DECODED = Symbol('compressed: the bytes are right, what they say was not compared');
const TOKENS = /"(?:[^"\\]|\\.)*"|-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/g;

export function checkColumns(line) {
  const hash = leafHash(leafData(line, base64(line.commitment, 'its commitment')));
  if (!same(hash, base64(line.hash, 'its hash'))) {
    throw new Fault('its columns or its commitment do not give its leaf hash');
  }
}

/**
 * What is missing of the body, NOT_DECODED, or null where all of it is there and right.
 * @param shown gives what the event is shown to say, as `exactly` reads it
 */
export function checkBody(line, shown) {
  if (line.salt === null || line.state === null) return missing(line);
  const [salt, state] = [base64(line.salt, 'its salt'), base64(line.state, 'its payload')];
  if (salt.length !== SALT_BYTES || !same(commitmentOf(salt, state), base64(line.commitment, 'its commitment'))) {
    throw new Fault('its payload and salt do not give its commitment');
  }
  if (!isJson(state)) return NOT_DECODED;
  if (!equal(exactly(text(state)), shown())) throw new Fault('its event is not what its payload says');
  return null;
}

function missing(line) {
  if (line.salt !== null || line.state !== null || line.event !== null) throw new Fault('half of its body is there');
  const why = line.withheld ? 'is withheld' : line.erased ? 'was erased' : 'is not there';
  return `the body of ${line.name} in ${line.stream} ${why}`;
}

/** JSON with every number as a string of its own letters: JavaScript would round the long ones. */
export function exactly(json) {
  return JSON.parse(json.replace(TOKENS, (token) => (token[0] === '"' ? token : `"#${token}"`)));
}

/** JSON payloads begin so; batches of trades, bars and funding rates are columns, compressed by zstd. */
const isJson = (state) => state[0] === 0x7b || state[0] === 0x5b;

function equal(a, b) {
  if (a === null || b === null || typeof a !== 'object' || typeof b !== 'object') return a === b;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => name in b && equal(a[name], b[name]));
}
