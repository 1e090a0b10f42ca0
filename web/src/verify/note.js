// Signed notes and checkpoints: C2SP signed-note and tlog-checkpoint, with Ed25519 of RFC 8032.

import { ed25519 } from '@noble/curves/ed25519.js';
import { sha256 } from '@noble/hashes/sha2.js';

import { base64, Fault, hex, joined, same, text, toBase64, utf8 } from './bytes.js';

const DASH = '\u2014 ';
const ED25519 = 1;
const NAME = /^[^\s+]+$/;
const MAX_SIGNATURES = 100;

/** A public key written `name+id+base64`. */
export function parseKey(written) {
  const [, name, id, data] = /^([^+]+)\+([^+]+)\+(.+)$/.exec(written.trim()) ?? [];
  if (!name) throw new Fault('a key is written name+id+base64');
  const bytes = base64(data, 'the key');
  if (bytes.length !== 33 || bytes[0] !== ED25519) throw new Fault('the key is not one of Ed25519');
  const found = sha256(joined(utf8(`${name}\n`), bytes)).subarray(0, 4);
  if (hex(found) !== id.toLowerCase()) throw new Fault(`the key has id ${hex(found)}, not ${id}`);
  return { name, id: found, public: bytes.subarray(1), text: written.trim() };
}

function parseNote(written) {
  const end = written.lastIndexOf('\n\n');
  const tail = written.slice(end + 2);
  if (end < 0 || !tail.endsWith('\n')) throw new Fault('a note is a text, an empty line, and signatures');
  const lines = tail.slice(0, -1).split('\n');
  if (lines.length > MAX_SIGNATURES) throw new Fault(`${lines.length} signatures`);
  const signatures = lines.map((line) => {
    const [name, data, ...rest] = line.slice(DASH.length).split(' ');
    if (!line.startsWith(DASH) || !NAME.test(name) || rest.length) throw new Fault('a line is no signature');
    const bytes = base64(data, `the signature of ${name}`);
    return { name, id: bytes.subarray(0, 4), value: bytes.subarray(4) };
  });
  return { body: written.slice(0, end + 1), signatures };
}

/** The checkpoint in a note that `key` signed. */
export function openCheckpoint(written, key) {
  const note = parseNote(written);
  const own = note.signatures.filter(({ name, id }) => name === key.name && same(id, key.id));
  if (!own.length) throw new Fault(`not signed by ${key.name} (${hex(key.id)})`);
  for (const { value } of own) {
    if (!isOf(key, utf8(note.body), value)) throw new Fault(`the signature of ${key.name} is not over this text`);
  }
  const lines = note.body.split('\n');
  const [origin, size, root, ...extensions] = lines.slice(0, -1);
  if (lines.at(-1) !== '' || root === undefined || extensions.some((line) => !line)) {
    throw new Fault('a checkpoint has a line each for origin, size and root');
  }
  if (origin !== key.name) throw new Fault(`a checkpoint of ${origin}, signed by ${key.name}`);
  if (!/^(?:0|[1-9][0-9]*)$/.test(size)) throw new Fault(`${size} is no number of leaves`);
  const hash = base64(root, 'the root');
  if (hash.length !== 32) throw new Fault(`a root of ${hash.length} bytes`);
  return { origin, size: BigInt(size), root: hash, signals: extensions.find((line) => line.startsWith('signals ')) };
}

function isOf(key, message, signature) {
  try {
    return ed25519.verify(signature, message, key.public, { zip215: false });
  } catch {
    return false;
  }
}

/** How many signals each strategy has issued: the list that the checkpoint commits to. */
export function openCounts(bytes, checkpoint) {
  const counts = new Map();
  let total = 0;
  const list = text(bytes);
  if (list && !list.endsWith('\n')) throw new Fault('signals.txt does not end with a newline');
  for (const line of list.split('\n').slice(0, -1)) {
    const [, count, strategy] = /^([1-9][0-9]*) (.+)$/.exec(line) ?? [];
    if (!count || counts.has(strategy)) throw new Fault(`${JSON.stringify(line)} in signals.txt`);
    counts.set(strategy, Number(count));
    total += Number(count);
  }
  const said = `signals ${counts.size} ${total} ${toBase64(sha256(bytes))}`;
  if (said !== checkpoint.signals) throw new Fault(`signals.txt is "${said}", the checkpoint says "${checkpoint.signals}"`);
  return counts;
}
