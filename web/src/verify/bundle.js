// Verifies a bundle: one pass over its members, memory that does not grow with the number of events.

import { sha256 } from '@noble/hashes/sha2.js';

import { members } from './archive.js';
import { base64, Fault, hex, joined, same, text } from './bytes.js';
import { checkBody, checkColumns, exactly, NOT_DECODED } from './event.js';
import { Enough, Findings } from './findings.js';
import { integer } from './leaf.js';
import { cover, Frontier, verifyConsistency } from './merkle.js';
import { openCheckpoint, openCounts, parseKey } from './note.js';

const FORMAT = 'alphapulse-bundle-1';
const MAX_LINE = 64_000_000;
const MAX_MEMBER = 64_000_000; // of those that are read whole
const EVENTS = /^events\/[0-9]{6,}\.jsonl$/;
const ISSUED = 'signal.issued.';

/**
 * @param blob     the .tar.gz
 * @param trusted  the publisher's key as text; empty: the bundle's own word is taken for it
 * @param since    a signed checkpoint that the reader holds from earlier; may be empty
 * @param progress called with the number of events read
 */
export async function verifyBundle(blob, { trusted = '', since = '', progress = () => {} } = {}) {
  const run = new Run(trusted, since, progress);
  try {
    for await (const member of members(blob)) await run.take(member);
    run.finish();
  } catch (error) {
    if (!(error instanceof Enough)) run.note(error instanceof Fault ? error.message : `malformed: ${error.message}`);
  }
  return run.findings;
}

class Run {
  constructor(trusted, since, progress) {
    Object.assign(this, { trusted, since, progress });
    this.findings = new Findings();
    this.names = [];
    this.tree = new Frontier();
    this.position = 0;
    this.recordedAt = -Infinity;
    this.events = 0;
    this.notDecoded = 0;
    this.anchors = 0;
    this.isContinuous = false;
    this.signals = new Map(); // of each strategy that is in the bundle, how many were issued
    this.streams = new Map(); // the versions seen of the streams that were asked for whole
  }

  async take(member) {
    this.names.push(member.name);
    if (this.names.length === 1) {
      if (member.name !== 'manifest.json') throw new Fault(`the first member is ${member.name}, not manifest.json`);
      return this.manifest(JSON.parse(text(await whole(member))));
    }
    const wanted = this.files.get(member.name);
    if (!wanted) this.findings.fault(`${member.name} is not in the manifest`);
    const digest = sha256.create();
    const read = async () => {
      const bytes = await whole(member);
      digest.update(bytes);
      return bytes;
    };
    if (EVENTS.test(member.name)) await this.lines(member, digest);
    else if (member.name === 'checkpoint') this.open(text(await read()));
    else if (member.name === 'signals.txt') this.counts = openCounts(await read(), this.checkpoint);
    else if (member.name === 'consistency.json') this.consistency(JSON.parse(text(await read())));
    else if (member.name.startsWith('anchors/')) this.anchor(member.name, JSON.parse(text(await read())));
    else for await (const chunk of member.chunks()) digest.update(chunk);
    if (wanted && (wanted.bytes !== member.size || wanted.sha256 !== hex(digest.digest()))) {
      this.findings.fault(`${member.name} is not the file that the manifest names`);
    }
    return undefined;
  }

  manifest(manifest) {
    if (manifest.format !== FORMAT) throw new Fault(`a bundle of format ${JSON.stringify(manifest.format)}`);
    this.said = manifest;
    this.files = new Map(Object.entries(manifest.files));
    for (const name of ['checkpoint', 'signals.txt']) {
      if (!this.files.has(name)) throw new Fault(`the bundle has no ${name}`);
    }
    for (const stream of wholeStreams(manifest.filter ?? {})) this.streams.set(stream, 0);
  }

  open(note) {
    this.key = parseKey(this.trusted || this.said.key);
    if (!this.trusted) {
      this.findings.say(`The key is the bundle's own word: compare it with what ${this.key.name} publishes.`);
    }
    this.checkpoint = openCheckpoint(note, this.key);
    const { origin, size, root } = this.checkpoint;
    const said = [this.said.key, this.said.origin, this.said.size, this.said.root];
    const found = [this.key.text, origin, Number(size), hex(root)];
    said[3] = hex(base64(said[3], 'the root of the manifest'));
    ['key', 'origin', 'size', 'root'].forEach((name, at) => {
      if (said[at] !== found[at]) this.findings.fault(`the manifest says ${name} ${said[at]}, the checkpoint ${found[at]}`);
    });
    if (this.since) this.earlier = openCheckpoint(this.since, this.key);
    if (this.earlier && this.earlier.size === size) {
      if (!same(this.earlier.root, root)) throw new Fault(`two trees of ${size} leaves: the log was forked`);
      this.isContinuous = true;
    }
    if (this.earlier && this.earlier.size > size) {
      throw new Fault(`your checkpoint has ${this.earlier.size} leaves, the bundle's ${size}: leaves were cut off`);
    }
  }

  consistency(proof) {
    const from = openCheckpoint(proof.from.note, this.key);
    verifyConsistency(from.size, this.checkpoint.size, from.root, this.checkpoint.root, hashes(proof.proof));
    if (this.earlier && from.size === this.earlier.size && same(from.root, this.earlier.root)) this.isContinuous = true;
    this.findings.fact('Continues the checkpoint of', `${from.size} leaves`);
  }

  anchor(name, anchor) {
    const at = openCheckpoint(anchor.note, this.key);
    if (at.size > this.checkpoint.size) throw new Fault(`${name} anchors ${at.size} leaves`);
    verifyConsistency(at.size, this.checkpoint.size, at.root, this.checkpoint.root, hashes(anchor.proof));
    this.anchors += 1;
  }

  async lines(member, digest) {
    if (!this.counts) throw new Fault('events come before checkpoint and signals.txt');
    let rest = new Uint8Array();
    for await (const chunk of member.chunks()) {
      digest.update(chunk);
      rest = rest.length ? joined(rest, chunk) : chunk;
      let from = 0;
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10, from)) {
        this.line(text(rest.subarray(from, end)));
        from = end + 1;
      }
      rest = rest.slice(from);
      if (rest.length > MAX_LINE) throw new Fault(`a line of over ${MAX_LINE} bytes in ${member.name}`);
      this.progress(this.events);
      await new Promise((resolve) => { setTimeout(resolve); });
    }
    if (rest.length) throw new Fault(`${member.name} does not end with a newline`);
  }

  line(written) {
    let line;
    try {
      line = JSON.parse(written);
    } catch {
      throw new Fault(`no JSON after leaf ${this.tree.size}: ${written.slice(0, 80)}`);
    }
    if (line.gap) this.gap(line);
    else this.event(line, written);
  }

  gap({ gap: [from, to], nodes }) {
    const [lo, hi] = [integer(from), integer(to)];
    if (lo !== this.tree.size || hi <= lo) throw new Fault(`a gap from ${lo} to ${hi}, where leaf ${this.tree.size} is next`);
    const levels = cover(lo, hi);
    const found = hashes(nodes);
    if (found.length !== levels.length) throw new Fault(`${found.length} nodes from leaf ${lo} to ${hi}, where ${levels.length} belong`);
    found.forEach((hash, at) => this.tree.append(hash, levels[at]));
  }

  event(line, written) {
    const leaf = integer(line.leaf);
    if (leaf !== this.tree.size) throw new Fault(`leaf ${leaf}, where leaf ${this.tree.size} is next`);
    this.events += 1;
    try {
      this.columns(line);
      this.payload(line, written);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.findings.fault(error.message, line.leaf);
    }
    this.tree.append(base64(line.hash, 'its hash'));
    this.counted(line);
  }

  columns(line) {
    if (line.position <= this.position) throw new Fault(`position ${line.position} comes after ${this.position}`);
    if (line.recorded_at < this.recordedAt) throw new Fault(`recorded at ${line.recorded_at}, before the event in front of it`);
    this.position = line.position;
    this.recordedAt = line.recorded_at;
    checkColumns(line);
  }

  payload(line, written) {
    const body = checkBody(line, () => exactly(written).event);
    if (body === NOT_DECODED) this.notDecoded += 1;
    else if (body) this.findings.miss(body, line.leaf);
  }

  counted({ name, stream, version, leaf }) {
    if (this.streams.has(stream)) {
      const before = this.streams.get(stream);
      if (version > before + 1) this.findings.miss(`versions ${before + 1} to ${version - 1} of ${stream}`, leaf);
      this.streams.set(stream, version);
    }
    if (name.startsWith(ISSUED) && stream.startsWith('signals-')) {
      const strategy = stream.slice('signals-'.length);
      this.signals.set(strategy, (this.signals.get(strategy) ?? 0) + 1);
    }
  }

  finish() {
    for (const name of this.files?.keys() ?? []) {
      if (!this.names.includes(name)) this.findings.fault(`${name} is in the manifest and not in the archive`);
    }
    if (!this.checkpoint) throw new Fault('the archive has no checkpoint');
    const { origin, size, root } = this.checkpoint;
    if (this.tree.size !== size) throw new Fault(`lines for ${this.tree.size} leaves, where the checkpoint has ${size}`);
    if (!same(this.tree.root(), root)) {
      this.findings.fault(`events and gaps give the root ${hex(this.tree.root())}, the checkpoint says ${hex(root)}`);
    }
    if (this.said.events !== this.events) this.findings.fault(`${this.events} events, the manifest says ${this.said.events}`);
    if (this.earlier && !this.isContinuous) {
      this.findings.fault(`nothing shows that your checkpoint of ${this.earlier.size} leaves begins this log`);
    }
    this.complete();
    this.findings.fact('Log', origin);
    this.findings.fact('Key', this.key.text);
    this.findings.fact('Leaves in the log', size);
    this.findings.fact('Root', hex(root));
    this.findings.fact('Events here', this.events);
    this.findings.fact('Last position', this.said.position);
    if (this.anchors) {
      this.findings.fact('Anchors', this.anchors);
      this.findings.say('Anchors belong to this log; what their times are worth, verify.py in the bundle says.');
    }
    if (this.notDecoded) {
      this.findings.say(`${this.notDecoded} batches are compressed: their bytes are verified, not what they are shown to say.`);
    }
  }

  complete() {
    for (const [strategy, count] of this.asked()) {
      const found = this.signals.get(strategy) ?? 0;
      const text_ = `${found} of the ${count} signals that ${strategy} has issued`;
      if (found < count) this.findings.miss(text_);
      if (found > count) this.findings.fault(`${text_} by the checkpoint`);
      this.findings.fact(`Signals of ${strategy}`, `${found} of ${count}`);
    }
  }

  /** The strategies whose signals were asked for, all of them, with their counts. */
  asked() {
    const filter = this.said.filter ?? {};
    const names = [...this.counts.keys()];
    const isWhole = !Object.keys(filter).some((name) => !['strategy', 'streams', 'as_of', 'withhold_open'].includes(name));
    if (!isWhole) return [];
    const wanted = names.filter((name) => {
      if (filter.strategy !== undefined && filter.strategy !== name) return false;
      return !filter.streams || filter.streams.includes(`signals-${name}`);
    });
    return wanted.map((name) => [name, this.counts.get(name)]);
  }

  note(message) {
    try {
      this.findings.fault(message);
    } catch {
      // Enough is enough.
    }
  }
}

/** Streams of which a filter asks for every version. */
function wholeStreams(filter) {
  const others = Object.keys(filter).filter((name) => !['streams', 'as_of', 'withhold_open'].includes(name));
  return others.length ? [] : (filter.streams ?? []);
}

async function whole(member) {
  if (member.size > MAX_MEMBER) throw new Fault(`${member.name} has ${member.size} bytes, over ${MAX_MEMBER}`);
  const chunks = [];
  for await (const chunk of member.chunks()) chunks.push(chunk);
  return joined(...chunks);
}

function hashes(written) {
  return written.map((each) => {
    const hash = base64(each, 'a hash');
    if (hash.length !== 32) throw new Fault(`a hash of ${hash.length} bytes`);
    return hash;
  });
}
