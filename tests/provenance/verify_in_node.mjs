// Verifies files as the page does, without a browser: each line of the input is {"file", "key", "since"}.

import { openAsBlob } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';

import { verifyBundle } from '../../web/src/verify/bundle.js';
import { verifyProof } from '../../web/src/verify/proof.js';

for await (const line of createInterface({ input: process.stdin })) {
  const { file, key, since } = JSON.parse(line);
  const options = { trusted: key, since };
  const found = file.endsWith('.json')
    ? verifyProof(await readFile(file, 'utf8'), options)
    : await verifyBundle(await openAsBlob(file), options);
  const { verdict, faults, missing, said, facts } = found;
  console.log(JSON.stringify({ verdict, faults, missing, said, facts: Object.fromEntries(facts) }));
}
