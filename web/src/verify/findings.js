// What a verification has found so far, and the verdict that follows from it.

const MOST = 20; // faults; whoever wants more has enough of them

/** So many faults that reading on tells nothing. */
export class Enough extends Error {}

export class Findings {
  faults = [];
  missing = [];
  missingInAll = 0;
  said = [];
  facts = [];

  fault(text, leaf = null) {
    this.faults.push({ text, leaf });
    if (this.faults.length >= MOST) throw new Enough();
  }

  /** Nothing is wrong, but not everything is there. */
  miss(text, leaf = null) {
    this.missingInAll += 1;
    if (this.missing.length < MOST) this.missing.push({ text, leaf });
  }

  say(text) {
    this.said.push(text);
  }

  fact(name, value) {
    this.facts.push([name, String(value)]);
  }

  get verdict() {
    if (this.faults.length) return 'INVALID';
    return this.missingInAll ? 'VALID BUT INCOMPLETE' : 'VALID';
  }
}
