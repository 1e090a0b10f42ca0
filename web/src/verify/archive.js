// A .tar.gz as a stream of members: never more of it in memory than one block.

import { Fault } from './bytes.js';

const RECORD = 512;
const MAX_MEMBERS = 200_000;
const MAX_BYTES = 1e12;

/** Members in order: { name, size, chunks() }; each is read to its end before the next is asked for. */
export async function* members(blob) {
  const source = new Reader(blob.stream().pipeThrough(new DecompressionStream('gzip')));
  const seen = new Set();
  for (;;) {
    const header = await source.exactly(RECORD);
    if (header.every((byte) => byte === 0)) {
      await source.drain();
      return;
    }
    const { name, size } = parseHeader(header);
    if (seen.has(name)) throw new Fault(`${name} is in the archive twice`);
    if (seen.add(name).size > MAX_MEMBERS) throw new Fault(`over ${MAX_MEMBERS} members`);
    let left = size;
    yield {
      name,
      size,
      async *chunks() {
        while (left > 0) {
          const chunk = await source.upTo(left);
          left -= chunk.length;
          yield chunk;
        }
      },
    };
    while (left > 0) left -= (await source.upTo(left)).length;
    await source.exactly((RECORD - (size % RECORD)) % RECORD);
  }
}

function parseHeader(header) {
  const field = (at, length) => {
    const bytes = header.subarray(at, at + length);
    const end = bytes.indexOf(0);
    return String.fromCharCode(...(end < 0 ? bytes : bytes.subarray(0, end)));
  };
  const sum = header.reduce((all, byte, at) => all + (at >= 148 && at < 156 ? 32 : byte), 0);
  if (parseInt(field(148, 8), 8) !== sum) throw new Fault('the archive is damaged: a header has another sum');
  const name = field(345, 155) ? `${field(345, 155)}/${field(0, 100)}` : field(0, 100);
  const kind = field(156, 1);
  if (kind !== '0' && kind !== '') throw new Fault(`${name} is no plain file`);
  if (name.startsWith('/') || name.split('/').includes('..')) throw new Fault(`${name} leads out of the archive`);
  const size = parseInt(field(124, 12), 8);
  if (!Number.isSafeInteger(size) || size < 0) throw new Fault(`${name} has no size`);
  return { name, size };
}

class Reader {
  constructor(stream) {
    this.reader = stream.getReader();
    this.rest = new Uint8Array();
    this.total = 0;
  }

  async upTo(most) {
    while (!this.rest.length) {
      const { done, value } = await this.next();
      if (done) throw new Fault('the archive ends too early');
      this.rest = value;
    }
    const chunk = this.rest.subarray(0, most);
    this.rest = this.rest.subarray(chunk.length);
    return chunk;
  }

  async exactly(length) {
    const whole = new Uint8Array(length);
    for (let at = 0; at < length; ) {
      const chunk = await this.upTo(length - at);
      whole.set(chunk, at);
      at += chunk.length;
    }
    return whole;
  }

  async drain() {
    let left = this.rest;
    for (;;) {
      if (left.some((byte) => byte !== 0)) throw new Fault('the archive goes on after its end');
      const { done, value } = await this.next();
      if (done) return;
      left = value;
    }
  }

  async next() {
    try {
      const found = await this.reader.read();
      this.total += found.value?.length ?? 0;
      if (this.total > MAX_BYTES) throw new Fault(`over ${MAX_BYTES} bytes`);
      return found;
    } catch (error) {
      throw error instanceof Fault ? error : new Fault(`the archive is damaged: ${error.message}`);
    }
  }
}
