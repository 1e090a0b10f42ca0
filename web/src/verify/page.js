// The page: a file goes in, a verdict comes out.

import { verifyBundle } from './bundle.js';
import { Findings } from './findings.js';
import { verifyProof } from './proof.js';

const byId = (id) => document.getElementById(id);
const MAX_PROOF_BYTES = 10_000_000;
const MEANING = {
  VALID: 'Everything that the file holds is in the log, unchanged.',
  'VALID BUT INCOMPLETE': 'Everything that the file holds is in the log, unchanged; but not everything is here.',
  INVALID: 'Do not trust this file: something in it is not what was signed.',
};
let runs = 0; // only the last one may show what it found

async function verify(file) {
  runs += 1;
  const run = runs;
  byId('result').hidden = true;
  byId('progress').hidden = false;
  const tell = (events) => {
    if (run === runs) byId('progress').textContent = `${file.name}: ${events.toLocaleString('en')} events …`;
  };
  tell(0);
  const found = await findingsOf(file, tell);
  if (run !== runs) return;
  byId('progress').hidden = true;
  show(file.name, found);
}

async function findingsOf(file, progress) {
  const options = { trusted: byId('key').value.trim(), since: noteOf(byId('since').value), progress };
  const head = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  if (head[0] === 0x1f && head[1] === 0x8b) return verifyBundle(file, options);
  if (file.size <= MAX_PROOF_BYTES) return verifyProof(await file.text(), options);
  const found = new Findings();
  found.fault(`${file.name} is no .tar.gz, and too large for a proof`);
  return found;
}

/** A pasted note may have lost its last newline. */
function noteOf(pasted) {
  const text = pasted.replaceAll('\r\n', '\n').trim();
  return text && `${text}\n`;
}

function show(name, found) {
  byId('result').dataset.verdict = found.verdict;
  byId('verdict').textContent = `${name}: ${found.verdict}`;
  byId('meaning').textContent = MEANING[found.verdict];
  const where = ({ text, leaf }) => (leaf === null ? text : `leaf ${leaf}: ${text}`);
  const rest = found.missingInAll - found.missing.length;
  list('faults', found.faults.map(where));
  list('missing', [...found.missing.map(where), ...(rest ? [`and ${rest} more`] : [])].map((each) => `missing: ${each}`));
  list('said', found.said);
  byId('facts').replaceChildren(...found.facts.map((row) => element('tr', row.map((cell) => element('td', [cell])))));
  byId('result').hidden = false;
}

function list(id, texts) {
  byId(id).replaceChildren(...texts.map((each) => element('li', [each])));
}

function element(name, children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

let last = null;
function take(file) {
  last = file ?? last;
  if (last) verify(last);
}

const drop = byId('drop');
byId('file').addEventListener('change', (event) => take(event.target.files[0]));
for (const id of ['key', 'since']) byId(id).addEventListener('change', () => take(null));
drop.addEventListener('dragover', (event) => {
  event.preventDefault();
  drop.classList.add('over');
});
drop.addEventListener('dragleave', () => drop.classList.remove('over'));
drop.addEventListener('drop', (event) => {
  event.preventDefault();
  drop.classList.remove('over');
  take(event.dataTransfer.files[0]);
});
