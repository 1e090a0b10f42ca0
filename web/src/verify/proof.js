// Verifies one inclusion proof: an event, its leaf, and the path to the root that was signed.

import { base64, Fault, hex, same } from './bytes.js';
import { checkBody, checkColumns, exactly, NOT_DECODED } from './event.js';
import { Findings } from './findings.js';
import { integer } from './leaf.js';
import { verifyInclusion } from './merkle.js';
import { openCheckpoint, parseKey } from './note.js';

const FORMAT = 'alphapulse-proof-1';

/** @param written the JSON; the other arguments as of `verifyBundle` */
export function verifyProof(written, { trusted = '', since = '' } = {}) {
  const findings = new Findings();
  try {
    check(written, trusted, since, findings);
  } catch (error) {
    findings.fault(error instanceof Fault ? error.message : `malformed: ${error.message}`);
  }
  return findings;
}

function check(written, trusted, since, findings) {
  const proof = JSON.parse(written);
  if (proof.format !== FORMAT) throw new Fault(`a proof of format ${JSON.stringify(proof.format)}`);
  if (!trusted && !proof.key) throw new Fault('the proof names no key: give the one of the publisher');
  const key = parseKey(trusted || proof.key);
  if (!trusted) findings.say(`The key is the proof's own word: compare it with what ${key.name} publishes.`);
  const { origin, size, root } = openCheckpoint(proof.checkpoint, key);
  const leaf = integer(proof.leaf);
  const hash = base64(proof.hash, 'the hash of the leaf');
  verifyInclusion(leaf, size, hash, proof.proof.map((each) => base64(each, 'a hash')), root);
  if (since) earlier(openCheckpoint(since, key), size, root, findings);
  [['Log', origin], ['Key', key.text], ['Leaf', `${leaf} of ${size}`], ['Root', hex(root)]].forEach((row) => findings.fact(...row));
  if (proof.line) event(proof, written, hash, findings);
  else findings.miss('the event: only its leaf is here', proof.leaf);
}

function event({ line, leaf }, written, hash, findings) {
  if (line.leaf !== leaf || !same(base64(line.hash, 'its hash'), hash)) throw new Fault('the event is of another leaf');
  checkColumns(line);
  const body = checkBody(line, () => exactly(written).line.event);
  if (body === NOT_DECODED) findings.say('Its payload is compressed: the bytes are verified, not what they are shown to say.');
  else if (body) findings.miss(body, leaf);
  findings.fact('Event', `${line.name}, version ${line.version} of ${line.stream}, position ${line.position}`);
}

/** A single proof says nothing of how two checkpoints of different size hang together. */
function earlier(held, size, root, findings) {
  if (held.size === size && !same(held.root, root)) throw new Fault(`two trees of ${size} leaves: the log was forked`);
  if (held.size !== size) findings.miss(`a proof that this log goes on from your checkpoint of ${held.size} leaves`);
}
