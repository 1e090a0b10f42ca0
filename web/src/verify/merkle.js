// The Merkle tree of RFC 6962 section 2.1 and RFC 9162 section 2.1. Sizes and leaves are BigInt.

import { sha256 } from '@noble/hashes/sha2.js';

import { Fault, hex, joined, same } from './bytes.js';

const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);
const EMPTY = sha256(new Uint8Array());

export const leafHash = (data) => sha256(joined(LEAF, data));
export const nodeHash = (left, right) => sha256(joined(NODE, left, right));

/** The levels of the largest subtrees that together hold leaves lo to hi, hi not included, left to right. */
export function cover(lo, hi) {
  const levels = [];
  while (lo < hi) {
    let level = bits(hi - lo) - 1;
    if (lo > 0n) level = Math.min(level, zeros(lo));
    levels.push(level);
    lo += 1n << BigInt(level);
  }
  return levels;
}

/** A tree that grows to the right and remembers only its right edge. */
export class Frontier {
  constructor() {
    this.size = 0n;
    this.edge = [];
  }

  append(hash, level = 0) {
    let place = this.size >> BigInt(level);
    this.size += 1n << BigInt(level);
    while (place & 1n) {
      hash = nodeHash(this.edge.pop(), hash);
      place >>= 1n;
    }
    this.edge.push(hash);
  }

  root() {
    if (!this.edge.length) return EMPTY;
    return this.edge.slice(0, -1).reduceRight((right, left) => nodeHash(left, right), this.edge.at(-1));
  }
}

/** RFC 9162 section 2.1.3.2. */
export function verifyInclusion(leaf, size, hash, proof, root) {
  if (leaf < 0n || leaf >= size) throw new Fault(`leaf ${leaf} is not in a tree of ${size} leaves`);
  const inner = bits(leaf ^ (size - 1n));
  const expected = inner + ones(leaf >> BigInt(inner));
  if (proof.length !== expected) {
    throw new Fault(`${proof.length} hashes for leaf ${leaf} of ${size}, where ${expected} belong`);
  }
  const found = proof.reduce((below, sibling, level) => {
    const isRight = level >= inner || (leaf >> BigInt(level)) & 1n;
    return isRight ? nodeHash(sibling, below) : nodeHash(below, sibling);
  }, hash);
  check(found, root, `the root of ${size} leaves`);
}

/** RFC 9162 section 2.1.4.2. */
export function verifyConsistency(old, now, oldRoot, nowRoot, proof) {
  if (old < 1n || old > now) throw new Fault(`a tree of ${old} leaves does not begin one of ${now}`);
  if (old === now) {
    if (proof.length) throw new Fault(`${proof.length} hashes from ${old} to ${now} leaves, where none belongs`);
    check(oldRoot, nowRoot, `the root of ${old} leaves`);
    return;
  }
  const path = (old & (old - 1n)) === 0n ? [oldRoot, ...proof] : [...proof];
  if (!path.length) throw new Fault(`no hashes from ${old} to ${now} leaves`);
  let fn = old - 1n;
  let sn = now - 1n;
  while (fn & 1n) {
    fn >>= 1n;
    sn >>= 1n;
  }
  let [inOld] = path;
  let inNow = inOld;
  for (const sibling of path.slice(1)) {
    if (sn === 0n) throw new Fault(`too many hashes from ${old} to ${now} leaves: ${proof.length}`);
    if (fn & 1n || fn === sn) {
      inOld = nodeHash(sibling, inOld);
      inNow = nodeHash(sibling, inNow);
      while (!(fn & 1n) && fn !== 0n) {
        fn >>= 1n;
        sn >>= 1n;
      }
    } else {
      inNow = nodeHash(inNow, sibling);
    }
    fn >>= 1n;
    sn >>= 1n;
  }
  if (sn !== 0n) throw new Fault(`too few hashes from ${old} to ${now} leaves: ${proof.length}`);
  check(inOld, oldRoot, `the root of ${old} leaves`);
  check(inNow, nowRoot, `the root of ${now} leaves`);
}

function check(found, wanted, what) {
  if (!same(found, wanted)) throw new Fault(`${what} comes out as ${hex(found)}, not ${hex(wanted)}`);
}

const bits = (value) => (value === 0n ? 0 : value.toString(2).length);
const zeros = (value) => bits(value & -value) - 1;
const ones = (value) => value.toString(2).replaceAll('0', '').length;
