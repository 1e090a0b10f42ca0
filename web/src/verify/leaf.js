// What a leaf commits to: every column of an event, and its payload by a salted commitment.

import { sha256 } from '@noble/hashes/sha2.js';

import { Fault, joined, utf8 } from './bytes.js';

const MAGIC = utf8('APL1');
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const DIGITS = /^(?:0|-?[1-9][0-9]*)$/;
export const SALT_BYTES = 16;

export const commitmentOf = (salt, state) => sha256(joined(salt, state));

/** The bytes whose leaf hash stands in the tree, from a line of a bundle and the commitment in it. */
export function leafData(line, commitment) {
  if (commitment.length !== 32) throw new Fault(`a commitment of ${commitment.length} bytes`);
  if ((line.id_lo === null) !== (line.id_hi === null)) throw new Fault('id_lo without id_hi');
  const texts = [line.stream, line.name, line.actor, line.trace ?? ''].map((value) => utf8(aText(value)));
  const there = [line.event_time, line.cause, line.correlation, line.id_lo, line.trace];
  const present = there.reduce((all, value, at) => all | (value === null ? 0 : 1 << at), 0);
  return joined(
    MAGIC,
    int64(integer(line.position)),
    uuid(line.id),
    int64(integer(line.version)),
    int64(integer(line.recorded_at)),
    Uint8Array.of(present),
    int64(digits(line.event_time)),
    uuid(line.cause),
    uuid(line.correlation),
    int64(digits(line.id_lo)),
    int64(digits(line.id_hi)),
    commitment,
    ...texts.map((bytes) => int32(bytes.length)),
    ...texts,
  );
}

function int64(value) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, value);
  return bytes;
}

function int32(value) {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

export function integer(value) {
  if (!Number.isSafeInteger(value)) throw new Fault(`${JSON.stringify(value)} is no integer`);
  return BigInt(value);
}

function digits(value) {
  if (value === null) return 0n;
  if (typeof value !== 'string' || !DIGITS.test(value)) throw new Fault(`${JSON.stringify(value)} is no integer`);
  const found = BigInt(value);
  if (BigInt.asIntN(64, found) !== found) throw new Fault(`${value} does not fit 64 bits`);
  return found;
}

function uuid(value) {
  if (value === null) return new Uint8Array(16);
  if (typeof value !== 'string' || !UUID.test(value)) throw new Fault(`${JSON.stringify(value)} is no UUID`);
  const letters = value.replaceAll('-', '');
  return Uint8Array.from({ length: 16 }, (_, at) => parseInt(letters.slice(2 * at, 2 * at + 2), 16));
}

function aText(value) {
  if (typeof value !== 'string') throw new Fault(`${JSON.stringify(value)} is no text`);
  return value;
}
